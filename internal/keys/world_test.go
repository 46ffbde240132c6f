package keys_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	issuer   = "https://as.example"
	audience = "https://mcp.example"
)

// world is a store that several replicas share, and their clock.
type world struct {
	path string
	time atomic.Int64 // Unix microseconds
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{path: filepath.Join(t.TempDir(), "store.db")}
	w.time.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	return w
}

func (w *world) now() time.Time { return time.UnixMicro(w.time.Load()).UTC() }

func (w *world) pass(d time.Duration) { w.time.Add(d.Microseconds()) }

// store opens the file once more, as another process would.
func (w *world) store(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), w.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ring is one more replica.
func (w *world) ring(t *testing.T) *keys.Ring {
	t.Helper()
	return w.with(t, keys.Config{Store: w.store(t)})
}

func (w *world) with(t *testing.T, cfg keys.Config) *keys.Ring {
	t.Helper()
	cfg = wrapped(cfg)
	if cfg.Now == nil {
		cfg.Now = w.now
	}
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mint is an access token by the ring.
func (w *world) mint(t *testing.T, r token.Signer, lifetime time.Duration) (string, error) {
	t.Helper()
	alice, err := identity.ParseSubject("alice")
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: r, Now: w.now}).Access(
		token.AccessSpec{Subject: alice, ClientID: identity.MustClientID("C"), Audience: audience, Lifetime: lifetime})
	return raw, err
}

func (w *world) mustMint(t *testing.T, r token.Signer, lifetime time.Duration) string {
	t.Helper()
	raw, err := w.mint(t, r, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// verify is what a verifier says that has not seen the token before.
func (w *world) verify(t *testing.T, s token.KeySet, raw string) error {
	t.Helper()
	_, err := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: s, Now: w.now}).ParseAccess(t.Context(), raw, audience, token.Confirmation{})
	return err
}

// kids are the keys of a use in one state, as the store has them.
func (w *world) kids(t *testing.T, s keys.Store, u keys.Use, state keys.State) []string {
	t.Helper()
	records, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kids := []string{}
	for _, k := range keys.Statuses(records, keys.DefaultOverlap, w.now()) {
		if k.Use == u && k.State == state {
			kids = append(kids, k.KeyID)
		}
	}
	return kids
}

func rotate(t *testing.T, r *keys.Ring, u keys.Use) {
	t.Helper()
	if err := r.Rotate(t.Context(), u, false); err != nil {
		t.Fatalf("Rotate(%s) = %v", u, err)
	}
}

func reload(t *testing.T, rings ...*keys.Ring) {
	t.Helper()
	for _, r := range rings {
		if err := r.Reload(t.Context()); err != nil {
			t.Fatalf("Reload = %v", err)
		}
	}
}

func published(r *keys.Ring, kid string) bool {
	set := r.JWKS()
	return len(set.Key(kid)) == 1
}

// current is the key that is in use, as the ring has it.
func current(t *testing.T, r *keys.Ring, u keys.Use) string {
	t.Helper()
	ages := r.Ages()
	i := slices.IndexFunc(ages, func(a keys.Age) bool { return a.Use == u })
	if i < 0 {
		t.Fatalf("no current %s key in %v", u, ages)
	}
	return ages[i].KeyID
}

var errCrash = errors.New("the power is gone")

// frail is a store whose process dies before a write: the first that dies gets
// none through any more.
type frail struct {
	keys.Store
	writes int // that still succeed; negative: no end
	read   []keys.Record
	reads  error
}

func (f *frail) write() error {
	if f.writes == 0 {
		return errCrash
	}
	f.writes--
	return nil
}

// Keys answers with read where that is not nil.
func (f *frail) Keys(ctx context.Context) ([]keys.Record, error) {
	if f.reads != nil || f.read != nil {
		return f.read, f.reads
	}
	return f.Store.Keys(ctx)
}

func (f *frail) InsertKey(ctx context.Context, r keys.Record) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.Store.InsertKey(ctx, r)
}

func (f *frail) ActivateKey(ctx context.Context, keyID string, now time.Time) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.Store.ActivateKey(ctx, keyID, now)
}
