package spiffe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
)

// skew is how many seconds clocks may differ, for iat and nbf: exp is never stretched.
const skew = 60

// X509 implements authz.SVIDs (X509-SVID §5).
func (s *Source) X509(chain []*x509.Certificate) (authz.SVID, error) {
	id, err := s.verify(chain, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return authz.SVID{}, err
	}
	return authz.SVID{ID: id, Expires: chain[0].NotAfter}, nil
}

// verify is for a peer that has proved to have the key of the first certificate, and
// that is a client or a server. The library checks the one URI SAN, that it is no
// authority's, and the chain to the bundle of its own trust domain.
func (s *Source) verify(chain []*x509.Certificate, role x509.ExtKeyUsage) (identity.SPIFFEID, error) {
	id, _, err := x509svid.Verify(chain, s, x509svid.WithTime(s.cfg.Now()))
	if err != nil {
		return identity.SPIFFEID{}, err
	}
	leaf := chain[0]
	switch {
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0: // X509-SVID §4.3
		return identity.SPIFFEID{}, errors.New("its key usage has no digitalSignature")
	case len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, role) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny): // X509-SVID §4.4
		return identity.SPIFFEID{}, errors.New("its extended key usage is for something else")
	}
	parsed, err := identity.ParseSPIFFEID(id.String())
	if err != nil {
		return identity.SPIFFEID{}, err
	}
	return parsed, spelled(leaf, parsed)
}

// spelled wants the URI SAN as the SPIFFE ID is spelled: the standard library has put
// the scheme in small letters.
func spelled(leaf *x509.Certificate, id identity.SPIFFEID) error {
	const uri = 6 // uniformResourceIdentifier of GeneralName (RFC 5280 §4.2.1.6)
	for _, e := range leaf.Extensions {
		var names []asn1.RawValue
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
			return fmt.Errorf("parse subject alternative names: %w", err)
		}
		if slices.ContainsFunc(names, func(n asn1.RawValue) bool { return n.Tag == uri && string(n.Bytes) == id.String() }) {
			return nil
		}
	}
	return identity.ErrBadSPIFFEID
}

// svidTypes are the typ of JWT-SVIDs (JWT-SVID §2.3).
var svidTypes = []string{"", "JWT", "JOSE"}

// svidClaims are those that are read (JWT-SVID §3). An iss says nothing of whom to
// believe.
type svidClaims struct {
	Subject   string         `json:"sub"`
	Audience  jsontext.Value `json:"aud"`
	Expiry    int64          `json:"exp"`
	IssuedAt  int64          `json:"iat"`
	NotBefore int64          `json:"nbf"`
}

// JWT implements authz.SVIDs (JWT-SVID §5, draft-ietf-oauth-spiffe-client-auth-02 §3.1).
// The token is read as strictly as every other one that is not ours, by package jws.
func (s *Source) JWT(raw, audience string) (authz.SVID, error) {
	var c svidClaims
	signed, err := jws.Parse(raw, &c, svidTypes...)
	if err != nil {
		return authz.SVID{}, err
	}
	id, err := identity.ParseSPIFFEID(c.Subject)
	if err != nil {
		return authz.SVID{}, fmt.Errorf("sub: %w", err)
	}
	key, err := s.keyOf(signed, id)
	if err != nil {
		return authz.SVID{}, err
	}
	if err := signed.Verify([]jws.PublicKey{key}); err != nil {
		return authz.SVID{}, err
	}
	if err := c.check(audience, s.cfg.Now().Unix()); err != nil {
		return authz.SVID{}, err
	}
	return authz.SVID{ID: id, Expires: time.Unix(c.Expiry, 0)}, nil
}

// keyOf is the key of the trust domain in sub: one of another domain never verifies.
func (s *Source) keyOf(signed jws.Token, id identity.SPIFFEID) (jws.PublicKey, error) {
	td, err := spiffeid.TrustDomainFromString(id.TrustDomain())
	if err != nil {
		return nil, err
	}
	found, err := s.jwtKey(td, signed.KeyID)
	if err != nil {
		return nil, err
	}
	key, ok := found.(jws.PublicKey)
	if ec, isEC := found.(*ecdsa.PublicKey); !ok || isEC && ec.Curve != elliptic.P256() {
		return nil, errors.New("the key is of a kind that is not known here")
	}
	return key, nil
}

func (c svidClaims) check(audience string, now int64) error {
	var values []string
	if c.Audience.Kind() == '"' {
		values = make([]string, 1)
		if err := json.Unmarshal(c.Audience, &values[0]); err != nil {
			return err
		}
	} else if err := json.Unmarshal(c.Audience, &values); err != nil {
		return errors.New("aud is missing or malformed")
	}
	switch {
	case len(values) != 1 || values[0] != audience:
		return errors.New("aud is not this issuer alone")
	case c.Expiry <= now:
		return errors.New("exp is missing or past")
	case c.IssuedAt > now+skew || c.NotBefore > now+skew:
		return errors.New("iat or nbf is in the future")
	}
	return nil
}
