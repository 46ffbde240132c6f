package token

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// Errors of the Minter.
var (
	ErrNotCovered = errors.New("the access token's scope does not cover the call")
	ErrTooDeep    = errors.New("delegation chain is longer than 8 actors")
)

// SigningKey is a private key with the algorithm it is for.
type SigningKey struct {
	KeyID     string
	Algorithm string // ES256 or EdDSA
	Key       crypto.Signer
}

// Signer knows which key signs now. It must be safe for concurrent use.
type Signer interface {
	SigningKey() SigningKey
}

// MinterConfig configures a Minter.
type MinterConfig struct {
	Issuer string
	Signer Signer
	Now    func() time.Time
}

// Minter builds and signs tokens. It is safe for concurrent use.
type Minter struct {
	cfg MinterConfig

	mu     sync.Mutex // guards kid and signer, which belong together
	kid    string
	signer jose.Signer
}

// NewMinter makes a Minter.
func NewMinter(cfg MinterConfig) *Minter { return &Minter{cfg: cfg} }

// AccessSpec is what a grant gave.
type AccessSpec struct {
	Subject  identity.Subject
	ClientID identity.ClientID
	Audience string // exactly one protected resource
	Scope    Scope
	Txn      string    // the grant
	AuthTime time.Time // when the person logged in; zero for a workload
	Lifetime time.Duration
}

// Access mints an access token (RFC 9068 §2.2).
func (m *Minter) Access(s AccessSpec) (string, Access, error) {
	now := m.cfg.Now()
	c := claims{
		Issuer: m.cfg.Issuer, Subject: s.Subject, Audience: audience(s.Audience), ClientID: s.ClientID, Scope: s.Scope.String(),
		ID: rand.Text(), IssuedAt: now.Unix(), Expiry: now.Add(s.Lifetime).Unix(), Txn: s.Txn,
	}
	if !s.AuthTime.IsZero() {
		c.AuthTime = s.AuthTime.Unix()
	}
	if s.Subject.IsZero() || s.ClientID.IsZero() || s.Audience == "" || c.Expiry <= c.IssuedAt {
		return "", Access{}, errors.New("mint access token: subject, client, audience or lifetime missing")
	}
	raw, err := m.sign(c)
	if err != nil {
		return "", Access{}, err
	}
	return raw, Access{verified{c, s.Scope}}, nil
}

// CallSpec is what a call token shall be for.
type CallSpec struct {
	Audience  string            // the one resource that may accept it
	Presenter identity.ClientID // who presents it: the gateway, or the client that exchanged
	Scope     CallScope
	Details   Details // Type and Tool follow from Scope
}

// Call narrows an access token to one call: the same subject, transaction and
// chain of actors, one audience, one scope that the parent covers, and at most 60
// seconds, never beyond the parent's expiry. It returns ErrNotCovered, ErrTooDeep
// or ErrExpired.
func (m *Minter) Call(parent Access, s CallSpec) (Call, error) {
	now, actors := m.cfg.Now(), parent.Actors()
	expiry := min(now.Add(MaxCallLifetime).Unix(), parent.c.Expiry)
	switch {
	case !parent.Scope().Covers(s.Scope):
		return Call{}, ErrNotCovered
	case actors.depth() > maxActors:
		return Call{}, ErrTooDeep
	case expiry <= now.Unix():
		return Call{}, ErrExpired
	}
	s.Details.Type, s.Details.Tool = DetailsToolCall, s.Scope.Tool()
	if s.Scope == SessionScope() {
		s.Details.Type = DetailsSession
	}
	c := claims{
		Issuer: m.cfg.Issuer, Subject: parent.c.Subject, Audience: audience(s.Audience), ClientID: s.Presenter, Scope: s.Scope.String(),
		ID: rand.Text(), IssuedAt: now.Unix(), Expiry: expiry, AuthTime: parent.c.AuthTime, Txn: parent.c.Txn, Act: actors,
		Details: []Details{s.Details},
	}
	if s.Audience == "" || s.Presenter.IsZero() {
		return Call{}, errors.New("mint call token: audience or presenter missing")
	}
	if err := checkCall(c); err != nil {
		return Call{}, fmt.Errorf("mint call token: %w", err)
	}
	raw, err := m.sign(c)
	if err != nil {
		return Call{}, err
	}
	return Call{verified{c, Scope{c.Scope}}, raw}, nil
}

func (m *Minter) sign(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	signer, err := m.joseSigner()
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return jws.CompactSerialize()
}

// joseSigner keeps the signer of the key that signs now.
func (m *Minter) joseSigner() (jose.Signer, error) {
	k := m.cfg.Signer.SigningKey()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.signer != nil && m.kid == k.KeyID {
		return m.signer, nil
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: jose.JSONWebKey{Key: k.Key, KeyID: k.KeyID}},
		(&jose.SignerOptions{}).WithType(typAccess))
	if err != nil {
		return nil, fmt.Errorf("use signing key %s: %w", k.KeyID, err)
	}
	m.kid, m.signer = k.KeyID, s
	return s, nil
}
