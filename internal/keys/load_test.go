package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/metadata"
)

// TestRotationUnderLoadLosesNoRequest: two replicas sign and verify without a
// pause, a third rotates as often as it is let, and an upstream keeps our JWKS for
// as long as it may and never asks earlier. No token is ever refused, from its
// minting to its last second.
func TestRotationUnderLoadLosesNoRequest(t *testing.T) {
	const rotations, tick = 50, 50 * time.Second // replicas reload each tick: they are slow
	l := newLoad(t)
	operator := l.ring(t)
	stop := l.work(t, 2)
	seen := map[string]bool{}
	for n := 0; n < rotations; {
		l.advance(tick)
		switch err := operator.Rotate(t.Context(), keys.UseToken, false); {
		case err == nil:
			n++
			if err := operator.Rotate(t.Context(), keys.UseSession, false); err != nil {
				t.Fatal(err)
			}
			l.round(t, n) // nobody has noticed yet
			reload(t, l.replicas[n%2])
			l.round(t, n) // one of the two has
			seen[l.replicas[n%2].SigningKey().KeyID] = true
		case !errors.Is(err, keys.ErrTooSoon):
			t.Fatal(err)
		}
		reload(t, l.replicas...)
	}
	stop()
	if len(seen) != rotations {
		t.Errorf("%d keys have signed, want %d", len(seen), rotations)
	}
	if l.rounds.Load() < rotations {
		t.Errorf("%d rounds of load: there was none", l.rounds.Load())
	}
	t.Logf("%d rounds, %d fetches of the JWKS", l.rounds.Load(), l.fetches.Load())
}

// load is a world with two replicas, and an upstream that fetches the JWKS over
// HTTP from the one or the other.
type load struct {
	*world
	replicas []*keys.Ring
	sites    []*httptest.Server
	fetches  atomic.Int64
	rounds   atomic.Int64
	gate     sync.RWMutex // the clock stands while it is held for reading

	mu      sync.Mutex                 // guards what follows
	known   map[string]token.PublicKey // by the upstream
	fetched time.Time
	kept    []keptToken // a ring of them
}

type keptToken struct {
	raw    string
	expiry time.Time
}

const lifetime = time.Hour // the longest that is configurable

func newLoad(t *testing.T) *load {
	l := &load{world: newWorld(t), kept: make([]keptToken, 0, 512)}
	for range 2 {
		r := l.ring(t)
		mux := http.NewServeMux()
		if err := metadata.Register(mux, metadata.Config{JWKS: func() any { return r.JWKS() }}); err != nil {
			t.Fatal(err)
		}
		site := httptest.NewServer(mux)
		t.Cleanup(site.Close)
		l.replicas, l.sites = append(l.replicas, r), append(l.sites, site)
	}
	return l
}

// advance moves the clock between two rounds, never within one.
func (l *load) advance(d time.Duration) {
	l.gate.Lock()
	defer l.gate.Unlock()
	l.pass(d)
}

// work runs rounds until stop, which waits for the last ones.
func (l *load) work(t *testing.T, workers int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for n := i; ctx.Err() == nil && !t.Failed(); n++ {
				l.round(t, n)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// round has one replica sign and seal, and everybody verify; then an older token.
func (l *load) round(t *testing.T, n int) {
	l.gate.RLock()
	defer l.gate.RUnlock()
	l.rounds.Add(1)
	r := l.replicas[n%2]
	sealed := r.Sealer("mcp session").Seal([]byte("handle"))
	raw, err := l.mint(t, r, lifetime)
	if err != nil {
		t.Errorf("mint: %v", err)
		return
	}
	for _, raw := range []string{raw, l.exchange(n, raw)} {
		for name, set := range map[string]token.KeySet{"replica 0": l.replicas[0], "replica 1": l.replicas[1], "upstream": (*upstream)(l)} {
			if err := l.verify(t, set, raw); err != nil {
				t.Errorf("token of replica %d at %s: %v", n%2, name, err)
			}
		}
	}
	if _, ok := l.replicas[1-n%2].Sealer("mcp session").Open(sealed); !ok {
		t.Errorf("replica %d does not open what the other sealed", 1-n%2)
	}
}

// exchange keeps a token for later, and gives one of before that has not expired.
func (l *load) exchange(n int, raw string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := keptToken{raw, l.now().Add(lifetime)}
	if len(l.kept) < cap(l.kept) {
		l.kept = append(l.kept, k)
		return raw
	}
	i := n % len(l.kept)
	old := l.kept[i]
	if l.now().Before(old.expiry) && n%7 != 0 { // stays until its last second
		return old.raw
	}
	l.kept[i] = k
	return raw
}

// upstream is a verifier that holds a JWKS for 60 seconds, and does not ask again
// for a kid that it does not know.
type upstream load

// Key implements token.KeySet.
func (u *upstream) Key(ctx context.Context, kid string) (token.PublicKey, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := u.now(); u.known == nil || now.Sub(u.fetched) >= time.Minute {
		set, err := u.fetch(ctx)
		if err != nil {
			return token.PublicKey{}, err
		}
		u.fetched, u.known = now, map[string]token.PublicKey{}
		for _, k := range set.Keys {
			u.known[k.KeyID] = token.PublicKey{Algorithm: k.Algorithm, Key: k.Key}
		}
	}
	k, ok := u.known[kid]
	if !ok {
		return token.PublicKey{}, token.ErrUnknownKey
	}
	return k, nil
}

func (u *upstream) fetch(ctx context.Context) (jose.JSONWebKeySet, error) {
	site := u.sites[u.fetches.Add(1)%2]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, site.URL+metadata.PathJWKS, nil)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	resp, err := site.Client().Do(req)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	defer resp.Body.Close()
	var set jose.JSONWebKeySet
	return set, json.NewDecoder(resp.Body).Decode(&set)
}
