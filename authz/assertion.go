package authz

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// Bounds of a client assertion.
const (
	maxAssertion   = 8 << 10 // bytes
	maxAssertionID = 256     // bytes
	assertionAhead = 5 * 60  // seconds that exp may be ahead
	assertionSkew  = 60      // seconds that clocks may differ
)

var assertionAlgs = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// AssertionAlgs lists the algorithms of client assertions, for the metadata.
func (*Server) AssertionAlgs() []string {
	var names []string
	for _, a := range assertionAlgs {
		names = append(names, string(a))
	}
	return names
}

// assertion is a client assertion (RFC 7523 §2.2) of which nothing is proven yet.
type assertion struct {
	raw    string
	header assertionHeader
	claims assertionClaims
}

type assertionHeader struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`

	// What names a key to trust, or changes what is signed: a sender who needs these
	// is not understood, one who tries them is up to something (RFC 8725 §3.10, RFC
	// 7515 §4.1.11, RFC 7797 §3). Other members change nothing and are not read.
	Key      jsontext.Value `json:"jwk"`
	KeyURL   jsontext.Value `json:"jku"`
	Chain    jsontext.Value `json:"x5c"`
	ChainURL jsontext.Value `json:"x5u"`
	Critical jsontext.Value `json:"crit"`
	Base64   jsontext.Value `json:"b64"`
	Zip      jsontext.Value `json:"zip"`
}

// assertionClaims has NumericDates in whole seconds: what else RFC 7519 §2 would
// allow, no client sends.
type assertionClaims struct {
	Issuer    string         `json:"iss"`
	Subject   string         `json:"sub"`
	Audience  jsontext.Value `json:"aud"`
	Expiry    int64          `json:"exp"`
	IssuedAt  int64          `json:"iat"`
	NotBefore int64          `json:"nbf"`
	ID        string         `json:"jti"`
}

// parseAssertion reads one compact JWS, and refuses every other form of one.
func parseAssertion(raw string) (assertion, error) {
	parts := strings.Split(raw, ".")
	if len(raw) > maxAssertion || len(parts) != 3 {
		return assertion{}, errors.New("not three parts, or too long")
	}
	a := assertion{raw: raw}
	for i, into := range []any{&a.header, &a.claims, nil} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil || strings.ContainsAny(parts[i], "\r\n") { // which the decoder skips
			return assertion{}, fmt.Errorf("part %d is not base64url", i+1)
		}
		if into == nil {
			break
		}
		if err := json.Unmarshal(b, into); err != nil { // strict: case matters, duplicate names and bad UTF-8 are errors
			return assertion{}, fmt.Errorf("part %d: %w", i+1, err)
		}
	}
	return a, a.header.check()
}

func (h assertionHeader) check() error {
	for _, v := range []jsontext.Value{h.Key, h.KeyURL, h.Chain, h.ChainURL, h.Critical, h.Base64, h.Zip} {
		if v != nil {
			return errors.New("the header brings a key, or changes what is signed")
		}
	}
	if !slices.Contains(assertionAlgs, jose.SignatureAlgorithm(h.Algorithm)) {
		return errors.New("alg is none of ours")
	}
	if !slices.Contains([]string{"", "JWT", "client-authentication+jwt"}, h.Type) { // RFC 8725 §3.11, rfc7523bis
		return errors.New("typ is that of another kind of token")
	}
	return nil
}

// checkAssertion has the client prove itself by the assertion (RFC 7523 §3). The
// jti is spent last, so that only who holds the key can spend one.
func (s *Server) checkAssertion(ctx context.Context, c Client, a assertion) error {
	if err := a.verify(s.assertionKeys(ctx, c, a.header)); err != nil {
		return errInvalidClient(err)
	}
	if err := s.checkClaims(c, a.claims); err != nil {
		return errInvalidClient(err)
	}
	return s.spend(ctx, c, a.claims)
}

// assertionKeys is the keys that may have signed it; none when there is no such
// client, method or key.
func (s *Server) assertionKeys(ctx context.Context, c Client, h assertionHeader) []publicKey {
	if c.AuthMethod != oauth.AuthPrivateKeyJWT || c.SigningAlg != "" && c.SigningAlg != h.Algorithm {
		return nil
	}
	set, err := s.keysOf(ctx, c, func(ks keySet) bool { return h.KeyID == "" || ks.has(h.KeyID) })
	if err != nil { // of the client's making: to others the same as a wrong signature
		s.cfg.Log.InfoContext(ctx, "keys of a client", "client_id", c.ID, "error", err)
		return nil
	}
	return set.verifying(h.Algorithm, h.KeyID)
}

// verify checks the signature. Without a key it does the same work in vain, so
// that an unknown client is not refused sooner than a known one.
func (a assertion) verify(keys []publicKey) error {
	inVain := len(keys) == 0
	if inVain {
		keys = []publicKey{decoys()[jose.SignatureAlgorithm(a.header.Algorithm)]}
	}
	jws, err := jose.ParseSignedCompact(a.raw, assertionAlgs)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if _, err = jws.Verify(k); err == nil && !inVain {
			return nil
		}
	}
	return errors.New("no key of the client verifies the signature")
}

// decoys are keys that nobody has the private half of.
var decoys = sync.OnceValue(func() map[jose.SignatureAlgorithm]publicKey {
	n := make([]byte, minRSA/8)
	rand.Read(n)
	n[0], n[len(n)-1] = n[0]|0x80, n[len(n)-1]|1
	modulus := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
	point, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // neither fails: rand.Reader does not
	edwards, _, _ := ed25519.GenerateKey(rand.Reader)
	return map[jose.SignatureAlgorithm]publicKey{jose.RS256: modulus, jose.PS256: modulus, jose.ES256: &point.PublicKey, jose.EdDSA: edwards}
})

// checkClaims holds the claims to RFC 7523 §3, counting in seconds: a time made of
// any int64 may overflow.
func (s *Server) checkClaims(c Client, claims assertionClaims) error {
	now := s.cfg.Now().Unix()
	switch {
	case claims.Subject != c.ID.String() || claims.Issuer != claims.Subject:
		return errors.New("iss and sub are not both the client_id")
	case !s.isAudience(c, claims.Audience):
		return errors.New("aud is not this issuer alone")
	case claims.Expiry <= now-assertionSkew || claims.Expiry > now+assertionAhead+assertionSkew:
		return errors.New("exp is missing, past or too far ahead")
	case claims.IssuedAt > now+assertionSkew || claims.NotBefore > now+assertionSkew:
		return errors.New("iat or nbf is in the future")
	case claims.ID == "" || len(claims.ID) > maxAssertionID:
		return errors.New("jti is missing or too long")
	}
	return nil
}

// isAudience wants the issuer as the one string (rfc7523bis §4: an assertion that is
// good elsewhere too can be used by whoever runs elsewhere; not an array either). A
// static client whose library cannot do that may be listed with the further value
// that it sends, and then also the array of one, which such libraries make. Two
// values are refused to everybody.
func (s *Server) isAudience(c Client, aud jsontext.Value) bool {
	listed := c.Static && c.AssertionAudience != ""
	var values []string
	if aud.Kind() != '[' {
		values = make([]string, 1)
		if json.Unmarshal(aud, &values[0]) != nil {
			return false
		}
	} else if !listed || json.Unmarshal(aud, &values) != nil {
		return false
	}
	return len(values) == 1 && (values[0] == s.cfg.Issuer || listed && values[0] == c.AssertionAudience)
}

// spend makes the jti count once (RFC 7523 §3), for as long as the assertion would
// be good by any replica's clock.
func (s *Server) spend(ctx context.Context, c Client, claims assertionClaims) error {
	until := time.Unix(claims.Expiry+2*assertionSkew, 0)
	err := s.cfg.Store.InsertTicket(ctx, TicketAssertion, TicketKey(c.ID.String(), claims.ID), []byte{}, s.cfg.Now(), until)
	if errors.Is(err, ErrExists) {
		return errInvalidClient(errors.New("the assertion was used before"))
	}
	return err
}
