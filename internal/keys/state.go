package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/token"
)

// ringState is the keys of one reading of the store, opened. It does not change.
type ringState struct {
	records []Record
	opened  map[string]opened // all, by kid
	lines   map[Use]line
	token   token.SigningKey     // current
	audit   token.SigningKey     // current
	public  map[string]publicKey // of tokens, by kid
	session []sessionKey         // the current one first
}

// opened is a stored key that can be used.
type opened struct {
	record Record
	box    box           // of a session key
	signer crypto.Signer // of the others
}

// remote reports whether another place than this process signs with it.
func (o opened) remote() bool { _, ok := o.signer.(*remoteSigner); return ok }

// publicKey is good until a time, or for now.
type publicKey struct {
	token.PublicKey
	until time.Time
}

// openState opens all keys, also those that have retired: a store that does not
// belong to the key-encryption key is found at once. What have has open already is not
// opened again: what wraps the keys may be away.
func openState(ctx context.Context, records []Record, have *ringState, cfg Config) (*ringState, error) {
	s := &ringState{records: records, opened: map[string]opened{}, lines: map[Use]line{}, public: map[string]publicKey{}}
	for _, r := range records {
		if !slices.Contains(cfg.Uses, r.Use) {
			return nil, fmt.Errorf("key %s is for %q, which this program does not know, or has no use for", r.KeyID, r.Use)
		}
		o, ok := have.has(r)
		if !ok {
			var err error
			if o, err = openRecord(ctx, r, cfg); err != nil {
				return nil, err
			}
		}
		s.opened[r.KeyID] = o
	}
	for _, u := range cfg.Uses {
		s.lines[u] = lineOf(records, u)
	}
	for _, st := range Statuses(records, cfg.Overlap, cfg.Now()) {
		if err := s.add(st, cfg); err != nil {
			return nil, fmt.Errorf("key %s: %w", st.KeyID, err)
		}
	}
	return s, nil
}

// has is the key as it was opened before.
func (s *ringState) has(r Record) (opened, bool) {
	if s == nil {
		return opened{}, false
	}
	o, ok := s.opened[r.KeyID]
	return o, ok && sameKey(o.record, r)
}

func openRecord(ctx context.Context, r Record, cfg Config) (opened, error) {
	private, _, err := unwrap(ctx, r, cfg.Wrapper, cfg.Former)
	if err != nil {
		return opened{}, err
	}
	o := opened{record: r}
	switch {
	case r.Use == UseSession:
		o.box = newBox(private)
	case r.Use == UseToken && bytes.HasPrefix(private, referenceBegin):
		o.signer, err = openRemote(r, private, cfg.Remote)
	default:
		o.signer, err = openLocal(private)
	}
	if err != nil {
		return opened{}, fmt.Errorf("key %s: %w", r.KeyID, err)
	}
	return o, nil
}

func openLocal(private []byte) (crypto.Signer, error) {
	k, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", k)
	}
	return signer, nil
}

// add makes use of a key as its state says.
func (s *ringState) add(st Status, cfg Config) error {
	o := s.opened[st.KeyID]
	switch {
	case st.State == Retired:
		return nil
	case st.Use == UseSession && st.State == Current:
		s.session = slices.Insert(s.session, 0, sessionKey{o.box, st.Until})
		return nil
	case st.Use == UseSession:
		s.session = append(s.session, sessionKey{o.box, st.Until})
		return nil
	case st.State == Current && o.remote() && cfg.Remote == nil:
		return errNoRemote
	}
	if st.Use == UseToken {
		s.public[st.KeyID] = publicKey{token.PublicKey{Algorithm: st.Algorithm, Key: o.signer.Public()}, st.Until}
	}
	if st.State == Current {
		*s.signer(st.Use) = token.SigningKey{KeyID: st.KeyID, Algorithm: st.Algorithm, Key: o.signer}
	}
	return nil
}

func (s *ringState) signer(u Use) *token.SigningKey {
	if u == UseAudit {
		return &s.audit
	}
	return &s.token
}

// complete reports whether there is a current key for every use.
func (s *ringState) complete() bool {
	for _, l := range s.lines {
		if _, ok := l.current(); !ok {
			return false
		}
	}
	return true
}

func sameRecords(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(x, y Record) bool {
		return sameKey(x, y) && x.Activated.Equal(y.Activated) && x.Created.Equal(y.Created)
	})
}

// sameKey leaves out when it was made, and used.
func sameKey(a, b Record) bool {
	return a.KeyID == b.KeyID && a.Use == b.Use && a.Algorithm == b.Algorithm &&
		string(a.Wrapped) == string(b.Wrapped) && string(a.Public) == string(b.Public)
}

// SigningKey implements token.Signer with the current token key.
func (r *Ring) SigningKey() token.SigningKey { return r.state.Load().token }

// Key implements token.KeySet over the token keys that have not retired. It
// returns token.ErrUnknownKey.
func (r *Ring) Key(_ context.Context, kid string) (token.PublicKey, error) {
	k, ok := r.state.Load().public[kid]
	if !ok || !live(k.until, r.cfg().Now()) {
		return token.PublicKey{}, token.ErrUnknownKey
	}
	return k.PublicKey, nil
}

// JWKS is the public half of the token keys that have not retired (RFC 7517 §5),
// in the order of kid. The next ones are there too.
func (r *Ring) JWKS() jose.JSONWebKeySet {
	set, now := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}, r.cfg().Now()
	for kid, k := range r.state.Load().public {
		if live(k.until, now) {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Key, KeyID: kid, Algorithm: k.Algorithm, Use: "sig"})
		}
	}
	slices.SortFunc(set.Keys, func(a, b jose.JSONWebKey) int { return strings.Compare(a.KeyID, b.KeyID) })
	return set
}
