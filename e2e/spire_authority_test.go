package e2e_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/wicketgate/wicketgate/internal/spiretest"
)

// newPair is a certificate for a day: what the change makes of it, signed by the
// parent, or by itself.
func newPair(t *testing.T, parent *tls.Certificate, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(template)
	issuer, signer := template, crypto.PrivateKey(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// newRoot is an authority.
func newRoot(t *testing.T) *tls.Certificate {
	t.Helper()
	return newPair(t, nil, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		c.Subject.CommonName = "root of a test"
	})
}

func spiffeBundle(t *testing.T, s *spiretest.Server) *spiffebundle.Bundle {
	t.Helper()
	b, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString(s.TrustDomain), s.Bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestForgerHasTheRealKeys shows that a test can sign SVIDs that SPIRE never would,
// so that what refuses them does not do so for the signature.
func TestForgerHasTheRealKeys(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	s := spiretest.Start(t, spiretest.Config{Root: root})
	bundle := spiffeBundle(t, s)
	minted := s.MintX509(t, billingID, time.Minute, "billing.example.com")
	if len(minted.Certificate) != 2 {
		t.Errorf("an X.509-SVID below a root has %d certificates, want its own and SPIRE's", len(minted.Certificate))
	}
	if id, _, err := x509svid.ParseAndVerify(minted.Certificate, bundle); err != nil || id.String() != billingID {
		t.Errorf("minted X.509-SVID: %v, %v", id, err)
	}
	forged := newPair(t, root, func(c *x509.Certificate) {
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/forged"}}
	})
	if id, _, err := x509svid.ParseAndVerify(forged.Certificate, bundle); err != nil || id.Path() != "/forged" {
		t.Errorf("forged X.509-SVID: %v, %v", id, err)
	}

	audiences := []string{"https://a.example", "https://b.example"}
	svid, err := jwtsvid.ParseAndValidate(s.MintJWT(t, billingID, time.Minute, audiences...), bundle, audiences[1:])
	if err != nil || cmp.Diff(audiences, svid.Audience) != "" {
		t.Errorf("minted JWT-SVID: %+v, %v, want the audiences %v", svid, err, audiences)
	}
	key := s.JWTKey(t)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(object{"sub": "spiffe://example.org/forged", "aud": spireAudience, "exp": time.Now().Unix() + 60}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	if svid, err := jwtsvid.ParseAndValidate(text, bundle, []string{spireAudience}); err != nil || svid.ID.Path() != "/forged" {
		t.Errorf("forged JWT-SVID: %+v, %v", svid, err)
	}
}

func TestSPIREFederates(t *testing.T) {
	t.Parallel()
	partner := spiretest.Start(t, spiretest.Config{TrustDomain: "partner.example"})
	s := spiretest.Start(t, spiretest.Config{})
	a := s.StartAgent(t)
	s.SetBundle(t, "partner.example", partner.Bundle(t))
	s.CreateEntry(t, spiretest.Entry{ID: billingID, FederatesWith: []string{"partner.example"}})
	a.WaitForSVIDs(t, os.Getuid(), billingID)
	u := watch(t, workload(t, a))
	c := until(t, u.x509, "the partner's X.509 authority", func(c *workloadapi.X509Context) bool { return authorities(c, "partner.example") == 1 })
	set := until(t, u.jwt, "the partner's JWT authority", func(set *jwtbundle.Set) bool { return len(jwtKeys(set, "partner.example")) == 1 })

	theirs := partner.MintX509(t, "spiffe://partner.example/agent", time.Minute)
	if _, _, err := x509svid.ParseAndVerify(theirs.Certificate, c.Bundles); err != nil {
		t.Errorf("the partner's X.509-SVID: %v", err)
	}
	if _, err := jwtsvid.ParseAndValidate(partner.MintJWT(t, "spiffe://partner.example/agent", time.Minute, spireAudience), set, []string{spireAudience}); err != nil {
		t.Errorf("the partner's JWT-SVID: %v", err)
	}
}

func TestSPIREOffersItsBundle(t *testing.T) {
	t.Parallel()
	web := newPair(t, nil, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	roots := x509.NewCertPool()
	roots.AddCert(web.Leaf)
	overWeb := spiretest.Start(t, spiretest.Config{BundleEndpoint: true, WebCertificate: web})
	checkOffered(t, overWeb, federation.WithWebPKIRoots(roots))
	overSPIFFE := spiretest.Start(t, spiretest.Config{BundleEndpoint: true})
	checkOffered(t, overSPIFFE, federation.WithSPIFFEAuth(spiffeBundle(t, overSPIFFE), spiffeid.RequireFromString("spiffe://example.org/spire/server")))
}

func checkOffered(t *testing.T, s *spiretest.Server, option federation.FetchOption) {
	t.Helper()
	offered, err := federation.FetchBundle(deadline(t), spiffeid.RequireTrustDomainFromString(s.TrustDomain), s.BundleURL, option)
	if err != nil {
		t.Fatal(err)
	}
	got, err1 := offered.X509Bundle().Marshal()
	want, err2 := spiffeBundle(t, s).X509Bundle().Marshal()
	if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
		t.Errorf("offered at %s: %s (errors %v, %v), want %s", s.BundleURL, got, err1, err2, want)
	}
}
