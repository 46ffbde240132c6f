package authz

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// maxIntermediates bounds the search for a chain.
const maxIntermediates = 5

// checkCertificate has the client of that client_id prove itself by the certificate of
// its connection (RFC 8705 §2). One who is unknown, or registered for something else, is
// refused after the work of tls_client_auth.
func (s *Server) checkCertificate(ctx context.Context, name string, c *Client, chain []*x509.Certificate) error {
	id, notSPIFFE := identity.ParseSPIFFEID(name)
	switch {
	case len(chain) == 0 && notSPIFFE == nil:
		return s.unproved(ctx, fmt.Errorf("%s came without an SVID: certificates are asked for where mutual_tls listens, and that of a trusted proxy's own connection is none", id))
	case len(chain) == 0:
		return errInvalidClient(errors.New("no proof"))
	}
	check := s.checkChain
	switch c.AuthMethod {
	case oauth.AuthSelfSignedTLS:
		check = s.checkSelfSigned
	case oauth.AuthSPIFFE, oauth.AuthSPIFFEX509:
		check = s.checkX509SVID
	}
	if err := check(ctx, c, chain); err != nil {
		return s.unproved(ctx, cmp.Or(noCertificate(name, *c), err))
	}
	return nil
}

// noCertificate is why none could prove the client, nil where one could.
func noCertificate(name string, c Client) error {
	id, notSPIFFE := identity.ParseSPIFFEID(name)
	switch {
	case name == "":
		return errors.New("there is no client_id beside the certificate")
	case c.ID.IsZero() && notSPIFFE == nil:
		return fmt.Errorf("no client is configured for %s", id)
	case c.ID.IsZero():
		return errors.New("no client has this client_id")
	case !slices.Contains(certificateMethods, c.AuthMethod):
		return fmt.Errorf("client %s proves itself by %s", c.ID, c.AuthMethod)
	}
	return nil
}

var certificateMethods = []string{oauth.AuthTLS, oauth.AuthSelfSignedTLS, oauth.AuthSPIFFE, oauth.AuthSPIFFEX509}

// checkChain is tls_client_auth (RFC 8705 §2.1): a chain to an authority of ours,
// and the one name that the client registered. A pool that is nil would mean the
// authorities of the operating system.
func (s *Server) checkChain(_ context.Context, c *Client, chain []*x509.Certificate) error {
	if s.cfg.ClientCAs == nil {
		return errors.New("no authorities for clients are configured")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:min(len(chain), 1+maxIntermediates)] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: s.cfg.ClientCAs, Intermediates: between, CurrentTime: s.cfg.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return fmt.Errorf("verify chain: %w", err)
	}
	if c.AuthMethod != oauth.AuthTLS || !hasName(chain[0], c.TLSName) {
		return errors.New("the certificate is not the client's")
	}
	return nil
}

// checkSelfSigned is self_signed_tls_client_auth (RFC 8705 §2.2): nobody vouches for
// the certificate but the client, by listing it among its keys.
func (s *Server) checkSelfSigned(ctx context.Context, c *Client, chain []*x509.Certificate) error {
	if now := s.cfg.Now(); now.Before(chain[0].NotBefore) || now.After(chain[0].NotAfter) {
		return errors.New("the certificate is expired, or not good yet")
	}
	holds := func(ks jws.Set) bool { return ks.Holds(chain[0]) }
	set, err := s.keysOf(ctx, *c, holds)
	if err != nil {
		return err
	}
	if !holds(set) {
		return errors.New("the certificate is not among the client's keys")
	}
	return nil
}

// hasName reports whether the certificate has the registered name (RFC 8705
// §2.1.2), given as KIND:NAME. Names are equal or not: there are no wildcards, no
// suffixes, and only a dn looks at the subject.
func hasName(cert *x509.Certificate, registered string) bool {
	kind, name, _ := strings.Cut(registered, ":")
	if name == "" {
		return false
	}
	switch kind {
	case "dn":
		dn, err := distinguishedName(cert.RawSubject)
		return err == nil && dn == name
	case "dns": // RFC 4343: case does not matter
		return !strings.Contains(name, "*") && slices.ContainsFunc(cert.DNSNames, func(n string) bool { return lower(n) == lower(name) })
	case "uri":
		for _, u := range cert.URIs {
			if u.String() == name {
				return true
			}
		}
	case "ip":
		ip := net.ParseIP(name)
		return ip != nil && slices.ContainsFunc(cert.IPAddresses, ip.Equal)
	case "email":
		return slices.Contains(cert.EmailAddresses, name)
	}
	return false
}

// lower is for ASCII only: strings.EqualFold would take a Kelvin sign for a k.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// attribute is an AttributeTypeAndValue of RFC 5280 §4.1.2.4, its value as it is.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// attributesSET is an RDN: by the end of the name encoding/asn1 knows that it is a SET.
type attributesSET []attribute

// attributeNames is the table of RFC 4514 §3.
var attributeNames = map[string]string{"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C",
	"2.5.4.9": "STREET", "0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID"}

// distinguishedName is the string of RFC 4514 §2 for a name in DER, in one spelling:
// last RDN first, no spaces, the short names of §3 in capitals, every other type as
// its number with the value in hex, and backslashes only where §2.4 wants them. A
// registered dn is compared with it to the letter: no folding of case or spaces, so
// that two names which a CA tells apart are never one here. It is what
// openssl x509 -nameopt RFC2253,-esc_msb prints, for the types of the table.
func distinguishedName(der []byte) (string, error) {
	var rdns []attributesSET
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return "", fmt.Errorf("parse distinguished name: %w", errors.Join(err, errors.New("malformed")))
	}
	var parts []string
	for _, rdn := range slices.Backward(rdns) {
		var attributes []string
		for _, a := range rdn {
			attributes = append(attributes, a.String())
		}
		parts = append(parts, strings.Join(attributes, "+"))
	}
	return strings.Join(parts, ","), nil
}

// String is TYPE=VALUE (RFC 4514 §2.3, §2.4).
func (a attribute) String() string {
	name, known := attributeNames[a.Type.String()]
	if !known {
		name = a.Type.String()
	}
	var value string
	if _, err := asn1.Unmarshal(a.Value.FullBytes, &value); err != nil || !known || !isText(a.Value) {
		return name + "=#" + hex.EncodeToString(a.Value.FullBytes)
	}
	return name + "=" + escapeDN(value)
}

// isText reports whether the value is of one of the string types that RFC 5280
// §4.1.2.4 wants. Bytes of the older ones have several readings.
func isText(v asn1.RawValue) bool {
	return v.Class == asn1.ClassUniversal && slices.Contains([]int{asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String}, v.Tag)
}

// escapeDN escapes what RFC 4514 §2.4 says must be.
func escapeDN(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == 0:
			b.WriteString(`\00`)
			continue
		case strings.ContainsRune(`"+,;<>\`, r), i == 0 && (r == ' ' || r == '#'), i == len(s)-1 && r == ' ':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
