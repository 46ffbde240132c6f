// Package spiffetest is SPIFFE for tests that cannot have SPIRE: trust domains with keys
// of their own, and a Workload API on a Unix socket that does what a test tells it.
//
// Sockets, keys and signatures are real, and nothing that is checked elsewhere is made
// easier. It does NOT attest anybody: whoever reaches the socket is the workload. The
// real SPIRE is in e2e.
package spiffetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"maps"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Domain is a trust domain with one authority for X.509-SVIDs and one for JWT-SVIDs.
// Another Domain of the same name is what it is after its keys have changed.
type Domain struct {
	Name   string // example.org
	CA     *x509.Certificate
	CAKey  *ecdsa.PrivateKey
	JWTKey *ecdsa.PrivateKey
	KeyID  string // of JWTKey
}

// NewDomain makes a trust domain with new keys.
func NewDomain(t testing.TB, name string) *Domain {
	t.Helper()
	d := &Domain{Name: name, CAKey: newKey(t), JWTKey: newKey(t), KeyID: rand.Text()}
	d.CA = d.sign(t, d.CAKey, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(24 * time.Hour), URIs: []*url.URL{{Scheme: "spiffe", Host: name}},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	return d
}

// X509 issues an X.509-SVID for an hour, as SPIRE does. What changes it may make it none.
func (d *Domain) X509(t testing.TB, id string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{uri}, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(template)
	}
	key := newKey(t)
	leaf := d.sign(t, key, template)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// JWT signs a JWT-SVID. It is from now on and for five minutes, unless claims say it;
// sub and aud are theirs.
func (d *Domain) JWT(t testing.TB, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix()}
	maps.Copy(all, claims)
	raw, err := d.jwt(all)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (d *Domain) jwt(claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: d.JWTKey, KeyID: d.KeyID}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// Bundle is the trust bundle, as it is in a file or at a bundle endpoint (SPIFFE Trust
// Domain and Bundle §4).
func (d *Domain) Bundle(t testing.TB) []byte {
	t.Helper()
	b, err := d.bundle()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (d *Domain) bundle() (*spiffebundle.Bundle, error) {
	td, err := spiffeid.TrustDomainFromString(d.Name)
	if err != nil {
		return nil, err
	}
	b := spiffebundle.New(td)
	b.AddX509Authority(d.CA)
	return b, b.AddJWTAuthority(d.KeyID, d.JWTKey.Public())
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign completes the template and certifies the key. Before there is an authority it is
// the authority.
func (d *Domain) sign(t testing.TB, key *ecdsa.PrivateKey, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	parent := d.CA
	if parent == nil {
		parent = template
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Minute)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), d.CAKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
