package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// Bounds of a client assertion.
const (
	maxAssertionID = 256    // bytes
	assertionAhead = 5 * 60 // seconds that exp may be ahead
	assertionSkew  = 60     // seconds that clocks may differ
)

// assertionTypes are the typ of client assertions (RFC 8725 §3.11, rfc7523bis).
var assertionTypes = []string{"", "JWT", "client-authentication+jwt"}

// AssertionAlgs lists the algorithms of client assertions, for the metadata.
func (*Server) AssertionAlgs() []string { return jws.Algs() }

// assertion is a client assertion (RFC 7523 §2.2) of which nothing is proven yet.
type assertion struct {
	token  jws.Token
	claims assertionClaims
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

func parseAssertion(raw string) (a assertion, err error) {
	a.token, err = jws.Parse(raw, &a.claims, assertionTypes...)
	return a, err
}

// checkAssertion has the client prove itself by the assertion (RFC 7523 §3). The
// jti is spent last, so that only who holds the key can spend one.
func (s *Server) checkAssertion(ctx context.Context, c Client, a assertion) error {
	if err := a.token.Verify(s.assertionKeys(ctx, c, a.token)); err != nil {
		if id, notSPIFFE := identity.ParseSPIFFEID(a.claims.Subject); notSPIFFE == nil && c.AuthMethod != oauth.AuthPrivateKeyJWT {
			return s.unproved(ctx, fmt.Errorf("%s came with another client_assertion_type than %s", id, oauth.AssertionJWTSPIFFE))
		}
		return errInvalidClient(err)
	}
	if err := s.checkClaims(c, a.claims); err != nil {
		return errInvalidClient(err)
	}
	return s.spend(ctx, c, a.claims)
}

// assertionKeys is the keys that may have signed it; none when there is no such
// client, method or key.
func (s *Server) assertionKeys(ctx context.Context, c Client, t jws.Token) []jws.PublicKey {
	if c.AuthMethod != oauth.AuthPrivateKeyJWT || c.SigningAlg != "" && c.SigningAlg != t.Algorithm {
		return nil
	}
	set, err := s.keysOf(ctx, c, func(ks jws.Set) bool { return t.KeyID == "" || ks.Has(t.KeyID) })
	if err != nil { // of the client's making: to others the same as a wrong signature
		s.cfg.Log.InfoContext(ctx, "keys of a client", "client_id", c.ID, "error", err)
		return nil
	}
	return set.Verifying(t.Algorithm, t.KeyID)
}

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

// keysOf is the keys of a client, inline or fetched. Where enough says no of keys
// that were fetched before, they are fetched again: the client has rotated them.
func (s *Server) keysOf(ctx context.Context, c Client, enough func(jws.Set) bool) (jws.Set, error) {
	switch {
	case len(c.JWKS) > 0:
		return jws.ParseSet(c.JWKS)
	case c.JWKSURI != "" && s.cfg.Fetcher != nil:
		return s.keys.Keys(ctx, s.cfg.Fetcher, s.cfg.Now, c.JWKSURI, enough)
	}
	return nil, errors.New("the client has no keys")
}
