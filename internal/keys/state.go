package keys

import (
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
	lines   map[Use]line
	token   token.SigningKey     // current
	audit   token.SigningKey     // current
	public  map[string]publicKey // of tokens, by kid
	session []sessionKey         // the current one first
}

// publicKey is good until a time, or for now.
type publicKey struct {
	token.PublicKey
	until time.Time
}

// openState opens all keys, also those that have retired: a store that does not
// belong to the key-encryption key is found at once.
func openState(records []Record, kek KEK, cfg Config) (*ringState, error) {
	s := &ringState{records: records, lines: map[Use]line{}, public: map[string]publicKey{}}
	for _, r := range records {
		if !slices.Contains(cfg.Uses, r.Use) {
			return nil, fmt.Errorf("key %s is for %q, which this program does not know, or has no use for", r.KeyID, r.Use)
		}
	}
	for _, u := range cfg.Uses {
		s.lines[u] = lineOf(records, u)
	}
	for _, st := range Statuses(records, cfg.Overlap, cfg.Now()) {
		private, err := unwrap(st.Record, kek)
		if err != nil {
			return nil, err
		}
		if st.State == Retired {
			continue
		}
		if err := s.add(st, private); err != nil {
			return nil, fmt.Errorf("key %s: %w", st.KeyID, err)
		}
	}
	return s, nil
}

func (s *ringState) add(st Status, private []byte) error {
	if st.Use == UseSession {
		k := sessionKey{newBox(private), st.Until}
		if st.State == Current {
			s.session = slices.Insert(s.session, 0, k)
		} else {
			s.session = append(s.session, k)
		}
		return nil
	}
	k, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return fmt.Errorf("a %T cannot sign", k)
	}
	if st.Use == UseToken {
		s.public[st.KeyID] = publicKey{token.PublicKey{Algorithm: st.Algorithm, Key: signer.Public()}, st.Until}
	}
	if st.State == Current {
		*s.signer(st.Use) = token.SigningKey{KeyID: st.KeyID, Algorithm: st.Algorithm, Key: signer}
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

// has reports whether the key is there.
func (s *ringState) has(keyID string) bool {
	return slices.ContainsFunc(s.records, func(r Record) bool { return r.KeyID == keyID })
}

func sameRecords(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(x, y Record) bool {
		return x.KeyID == y.KeyID && x.Use == y.Use && x.Algorithm == y.Algorithm &&
			x.Activated.Equal(y.Activated) && x.Created.Equal(y.Created) && string(x.Wrapped) == string(y.Wrapped)
	})
}

// SigningKey implements token.Signer with the current token key.
func (r *Ring) SigningKey() token.SigningKey { return r.state.Load().token }

// Key implements token.KeySet over the token keys that have not retired. It
// returns token.ErrUnknownKey.
func (r *Ring) Key(_ context.Context, kid string) (token.PublicKey, error) {
	k, ok := r.state.Load().public[kid]
	if !ok || !live(k.until, r.cfg.Now()) {
		return token.PublicKey{}, token.ErrUnknownKey
	}
	return k.PublicKey, nil
}

// JWKS is the public half of the token keys that have not retired (RFC 7517 §5),
// in the order of kid. The next ones are there too.
func (r *Ring) JWKS() jose.JSONWebKeySet {
	set, now := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}, r.cfg.Now()
	for kid, k := range r.state.Load().public {
		if live(k.until, now) {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Key, KeyID: kid, Algorithm: k.Algorithm, Use: "sig"})
		}
	}
	slices.SortFunc(set.Keys, func(a, b jose.JSONWebKey) int { return strings.Compare(a.KeyID, b.KeyID) })
	return set
}
