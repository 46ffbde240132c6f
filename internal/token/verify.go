package token

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
)

// Reasons for which a token is refused. Every refusal wraps exactly one, but that
// ErrUnknownKey comes with ErrSignature. An error that wraps none of them is a
// KeySet that could not tell.
var (
	ErrMalformed  = errors.New("not a JWT of ours")
	ErrType       = errors.New("wrong kind of token")
	ErrSignature  = errors.New("signature does not verify")
	ErrIssuer     = errors.New("another issuer")
	ErrAudience   = errors.New("for another resource")
	ErrExpired    = errors.New("expired")
	ErrNotYet     = errors.New("issued in the future")
	ErrUnknownKey = errors.New("unknown key")
	ErrUnproven   = errors.New("bound to a key that the presenter has not proved to have")
	ErrRevoked    = errors.New("revoked")
	ErrStale      = errors.New("whether it was revoked is not known: the view is too old")
)

const (
	typAccess   = "at+jwt"        // RFC 9068 §2.1
	maxToken    = 8 << 10         // bytes
	clockSkew   = 5 * time.Second // for iat only: exp is never stretched
	cacheTokens = 4096            // per generation; some 6 MiB, ten times that if all tokens are as long as they may be
)

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA}

// PublicKey is a key with the one algorithm it is for.
type PublicKey struct {
	Algorithm string // ES256 or EdDSA
	Key       crypto.PublicKey
}

// KeySet finds the issuer's public key by its kid. It returns ErrUnknownKey, or
// another error when it cannot tell. It must be safe for concurrent use.
type KeySet interface {
	Key(ctx context.Context, kid string) (PublicKey, error)
}

// Revocations knows what was revoked since it was issued. It must be safe for
// concurrent use, and quick: it is asked each time.
type Revocations interface {
	// Check returns ErrRevoked for what was revoked or comes from that, and ErrStale when
	// it cannot tell.
	Check(v Verified) error
}

// VerifierConfig configures a Verifier.
type VerifierConfig struct {
	Issuer string // iss, to the letter
	Keys   KeySet
	Now    func() time.Time

	// Revocations is asked about every token; nil only for a resource server behind the
	// gateway, which takes nothing that lives longer than 60 seconds.
	Revocations Revocations
}

// Verifier checks tokens of one issuer. A token that was verified once is
// remembered by its SHA-256 until it expires, so that a client that comes again
// costs no signature check; time and audience are checked each time. It is safe
// for concurrent use.
type Verifier struct {
	cfg VerifierConfig

	mu       sync.Mutex // guards both generations
	new, old map[[sha256.Size]byte]Verified
}

// NewVerifier makes a Verifier.
func NewVerifier(cfg VerifierConfig) *Verifier {
	return &Verifier{cfg: cfg, new: map[[sha256.Size]byte]Verified{}}
}

// ParseAccess verifies an access token for the audience, for a presenter who has
// proved to have the keys of proof. A call token is refused with ErrType, a token
// that is bound to another key with ErrUnproven.
func (v *Verifier) ParseAccess(ctx context.Context, raw, audience string, proof Confirmation) (Access, error) {
	t, err := v.verify(ctx, raw, audience)
	if err != nil {
		return Access{}, err
	}
	return asAccess(t, raw, proof)
}

// ParseSubject is ParseAccess for the exchange (RFC 8693 §2.1): whatever the audience
// is, the caller holds the target of the new token against it.
func (v *Verifier) ParseSubject(ctx context.Context, raw string, proof Confirmation) (Access, error) {
	t, err := v.read(ctx, raw)
	if err != nil {
		return Access{}, err
	}
	return asAccess(t, raw, proof)
}

func asAccess(t Verified, raw string, proof Confirmation) (Access, error) {
	if len(t.c.Details) != 0 {
		return Access{}, fmt.Errorf("%w: a call token where an access token belongs", ErrType)
	}
	if !t.c.Confirmation.ProvenBy(proof) {
		return Access{}, ErrUnproven
	}
	return Access{t, &raw}, nil
}

// ParseTool verifies a tool token that a client presents. Access tokens are refused
// with ErrType, and so are the call tokens that upstreams get.
func (v *Verifier) ParseTool(ctx context.Context, raw, audience string, proof Confirmation) (Tool, error) {
	t, err := v.verify(ctx, raw, audience)
	if err != nil {
		return Tool{}, err
	}
	if len(t.c.Details) == 0 || len(t.c.Ancestors) == 0 {
		return Tool{}, fmt.Errorf("%w: another token where a client's tool token belongs", ErrType)
	}
	if err := checkTool(t.c); err != nil {
		return Tool{}, err
	}
	if !t.c.Confirmation.ProvenBy(proof) {
		return Tool{}, ErrUnproven
	}
	return Tool{t, &raw}, nil
}

// ParseCall verifies a call token for the audience, an upstream. Access tokens are
// refused with ErrType, and so are the tool tokens that clients present to the gateway.
func (v *Verifier) ParseCall(ctx context.Context, raw, audience string) (Call, error) {
	t, err := v.verify(ctx, raw, audience)
	if err != nil {
		return Call{}, err
	}
	if len(t.c.Details) == 0 {
		return Call{}, fmt.Errorf("%w: an access token where a call token belongs", ErrType)
	}
	if len(t.c.Ancestors) != 0 {
		return Call{}, fmt.Errorf("%w: a client's tool token where a call token belongs", ErrType)
	}
	if err := checkCall(t.c); err != nil {
		return Call{}, err
	}
	return Call{t, &raw}, nil
}

// checkCall holds a call token to its own rules, whoever signed it: it says nothing
// that only the gateway need know, and nothing that an upstream could not enforce.
func checkCall(c claims) error {
	if c.Attributes != nil || c.Workload || c.MayAct != nil || !c.Confirmation.IsZero() {
		return fmt.Errorf("%w: call token that says what only the gateway need know, or can enforce", ErrMalformed)
	}
	return checkDetails(c)
}

// checkDetails holds a call or tool token to one call.
func checkDetails(c claims) error {
	if len(c.Details) != 1 || c.Details[0].Server == "" || c.Expiry-c.IssuedAt > int64(MaxCallLifetime/time.Second) { // in seconds: as a Duration it may overflow
		return fmt.Errorf("%w: call token with several details, no server or too long a life", ErrMalformed)
	}
	if scope, err := ParseCallScope(c.Scope); err != nil || !scope.Fits(c.Details[0]) {
		return fmt.Errorf("%w: scope and authorization_details disagree", ErrMalformed)
	}
	return nil
}

// checkTool holds a client's token to one call of one tool, which nobody has approved:
// nothing else can be presented to the gateway.
func checkTool(c claims) error {
	if err := checkDetails(c); err != nil {
		return err
	}
	if c.Details[0].Type != DetailsToolCall || c.Details[0].Approval != "" {
		return fmt.Errorf("%w: another call's token where a tool token belongs", ErrType)
	}
	return nil
}

func (v *Verifier) verify(ctx context.Context, raw, audience string) (Verified, error) {
	t, err := v.read(ctx, raw)
	if err == nil && string(t.c.Audience) != audience {
		return Verified{}, ErrAudience
	}
	return t, err
}

// read verifies all but the audience.
func (v *Verifier) read(ctx context.Context, raw string) (Verified, error) {
	if len(raw) > maxToken {
		return Verified{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxToken)
	}
	sum := sha256.Sum256([]byte(raw))
	t, ok := v.seen(sum)
	if !ok {
		var err error
		if t, err = v.open(ctx, raw); err != nil {
			return Verified{}, err
		}
		v.remember(sum, t)
	}
	now := v.cfg.Now()
	switch {
	case !now.Before(t.Expiry()):
		return Verified{}, ErrExpired
	case t.IssuedAt().After(now.Add(clockSkew)):
		return Verified{}, ErrNotYet
	case v.cfg.Revocations != nil:
		return t, v.cfg.Revocations.Check(t)
	}
	return t, nil
}

// Alive asks about revocations of a token that was not verified here (one of another
// issuer, which was adopted), or not just now. It returns ErrRevoked or ErrStale.
func (v *Verifier) Alive(t Verified) error {
	if v.cfg.Revocations == nil {
		return nil
	}
	return v.cfg.Revocations.Check(t)
}

// header is all that our tokens' headers have; anything more is not ours
// (RFC 8725 §3.10, §3.11: no jku, x5u, jwk, crit).
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// open checks form, type, signature and issuer.
func (v *Verifier) open(ctx context.Context, raw string) (Verified, error) {
	h, err := parseHeader(raw)
	if err != nil {
		return Verified{}, err
	}
	key, err := v.cfg.Keys.Key(ctx, h.KeyID)
	if errors.Is(err, ErrUnknownKey) {
		return Verified{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if err != nil {
		return Verified{}, fmt.Errorf("find key: %w", err)
	}
	if h.Algorithm != key.Algorithm {
		return Verified{}, fmt.Errorf("%w: not the key's algorithm", ErrSignature)
	}
	payload, err := verifyJWS(raw, key.Key)
	if err != nil {
		return Verified{}, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil { // strict: duplicate names and bad UTF-8 are errors
		return Verified{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return v.accept(c)
}

// verifyJWS checks the signature and returns the payload.
func verifyJWS(raw string, key crypto.PublicKey) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return payload, nil
}

// accept checks the claims that do not change from one use to the next.
func (v *Verifier) accept(c claims) (Verified, error) {
	if c.Issuer != v.cfg.Issuer {
		return Verified{}, ErrIssuer
	}
	scope, err := ParseScope(c.Scope)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if c.Subject.IsZero() || c.ClientID.IsZero() || c.Audience == "" || c.ID == "" || c.Expiry <= c.IssuedAt || c.IssuedAt <= 0 {
		return Verified{}, fmt.Errorf("%w: a required claim is missing or out of range", ErrMalformed)
	}
	if !c.Act.good() || len(c.Ancestors) > maxAncestors || c.NotBefore != nil {
		return Verified{}, fmt.Errorf("%w: act is too long or names nobody, too many ancestors, or a claim that cannot be enforced", ErrMalformed)
	}
	if err := c.Attributes.check(); err != nil {
		return Verified{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return Verified{c, scope}, nil
}

// parseHeader reads the header strictly, and refuses spellings of base64url that
// decode to the same bytes (RFC 7515 §2: no padding, no spare bits), so that one
// signature has one spelling. (An ES256 signature has a twin with n-s for s that
// verifies too: what counts a token goes by jti, never by its text.)
func parseHeader(raw string) (header, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return header{}, fmt.Errorf("%w: not three parts", ErrMalformed)
	}
	var h header
	for i, p := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(p)
		if err != nil || strings.ContainsAny(p, "\r\n") {
			return header{}, fmt.Errorf("%w: part %d is not base64url", ErrMalformed, i+1)
		}
		if i > 0 {
			continue
		}
		if err := json.Unmarshal(b, &h, json.RejectUnknownMembers(true)); err != nil {
			return header{}, fmt.Errorf("%w: header: %w", ErrMalformed, err)
		}
	}
	if h.Type != typAccess {
		return header{}, fmt.Errorf("%w: typ is not %s", ErrType, typAccess)
	}
	return h, nil
}

func (v *Verifier) seen(sum [sha256.Size]byte) (Verified, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.new[sum]
	if !ok {
		if t, ok = v.old[sum]; ok {
			v.keep(sum, t)
		}
	}
	return t, ok
}

func (v *Verifier) remember(sum [sha256.Size]byte, t Verified) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keep(sum, t)
}

// keep holds two generations: what was not asked for during one is forgotten.
// Callers hold mu.
func (v *Verifier) keep(sum [sha256.Size]byte, t Verified) {
	if len(v.new) >= cacheTokens {
		v.old, v.new = v.new, make(map[[sha256.Size]byte]Verified, cacheTokens)
	}
	v.new[sum] = t
}
