package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// authority issues certificates to clients.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	c := a.issue(x509.Certificate{Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue completes the template; before there is an authority it signs itself.
func (a *authority) issue(template x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = &template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// client issues a certificate with that one name, KIND:NAME.
func (a *authority) client(name string) tls.Certificate {
	a.t.Helper()
	c := x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	switch kind, name, _ := strings.Cut(name, ":"); kind {
	case "uri":
		u, err := url.Parse(name)
		if err != nil {
			a.t.Fatal(err)
		}
		c.URIs = []*url.URL{u}
	case "dns":
		c.DNSNames = []string{name}
	default:
		a.t.Fatalf("no kind of name: %s", name)
	}
	return a.issue(c)
}

func inPEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// certified is a world whose clients have certificates: spiffe by its URI, named by
// its DNS name, alone by one that it signed itself.
type certified struct {
	*world
	ca                                   *authority
	spiffe, named, alone, stranger, fake tls.Certificate // stranger is of the authority, fake of another
}

const (
	withMutualTLS = "mutual_tls: {listen: \"127.0.0.1:0\", url: \"" + mutualURL + "\"}\n"
	mutualURL     = serveIssuer + ":8443"

	withCertificates = `client_ca: ca.pem
clients:
  - {id: spiffe, auth_method: tls_client_auth, tls_name: "uri:spiffe://example.com/agent"}
  - {id: named, auth_method: tls_client_auth, tls_name: "dns:agent.example.com"}
  - {id: alone, auth_method: self_signed_tls_client_auth, jwks_file: alone.json}
`
)

func newCertified(t *testing.T) *certified {
	t.Helper()
	w := &certified{world: newWorld(t, nil), ca: newAuthority(t)}
	w.spiffe, w.named = w.ca.client("uri:spiffe://example.com/agent"), w.ca.client("dns:agent.example.com")
	w.stranger, w.fake = w.ca.client("uri:spiffe://example.com/agent/2"), newAuthority(t).client("uri:spiffe://example.com/agent")
	w.alone = (&authority{t: t}).client("dns:alone.example.com")
	w.write("ca.pem", inPEM(w.ca.cert))
	w.write("alone.json", keySetOf(t, jose.JSONWebKey{Key: w.alone.Leaf.PublicKey, Certificates: []*x509.Certificate{w.alone.Leaf}, Use: "sig"}))
	w.write("access.yaml", "version: 1\nroles:\n  agents:\n    who: {clients: [spiffe, named, alone]}\n    servers: {mail: {tools: [list_messages]}}\n")
	return w
}

func keySetOf(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestClientIsKnownByItsCertificateAlone(t *testing.T) {
	w := newCertified(t)
	w.start(w.config(withTLS + withMutualTLS + withCertificates))
	old := w.ca.issue(x509.Certificate{URIs: w.spiffe.Leaf.URIs, NotAfter: time.Now().Add(-time.Minute), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	twin := (&authority{t: t}).client("dns:alone.example.com")
	for name, tt := range map[string]struct {
		id           string
		certificates []tls.Certificate
		good         bool
	}{
		"URI name":                            {"spiffe", []tls.Certificate{w.spiffe}, true},
		"DNS name":                            {"named", []tls.Certificate{w.named}, true},
		"self-signed":                         {"alone", []tls.Certificate{w.alone}, true},
		"a longer name":                       {"spiffe", []tls.Certificate{w.stranger}, false},
		"the certificate of another client":   {"spiffe", []tls.Certificate{w.named}, false},
		"the right name of another authority": {"spiffe", []tls.Certificate{w.fake}, false},
		"expired":                             {"spiffe", []tls.Certificate{old}, false},
		"none":                                {"spiffe", nil, false},
		"another self-signed one of the same name": {"alone", []tls.Certificate{twin}, false},
		"of the authority, for a self-signed one":  {"alone", []tls.Certificate{w.spiffe}, false},
		"none, where a self-signed one is due":     {"alone", nil, false},
		"self-signed, for one of the authority":    {"spiffe", []tls.Certificate{w.alone}, false},
		"a client that is not there":               {"nobody", []tls.Certificate{w.spiffe}, false},
	} {
		t.Run(name, func(t *testing.T) {
			raw, refused := tokenIn(w.post(w.clientAt(w.mutual, tt.certificates...), mutualURL+"/oauth2/token", w.credentials("client_id", tt.id)))
			if (raw != "") != tt.good || !tt.good && !strings.Contains(refused, `"invalid_client"`) {
				t.Errorf("token %q, %s", raw, refused)
			}
			if tt.good {
				w.connect(raw)
			}
		})
	}
}

// TestBrowsersAreNotAskedForCertificates: only the listener for them asks, and what a
// client puts into a header counts at neither.
func TestBrowsersAreNotAskedForCertificates(t *testing.T) {
	w := newCertified(t)
	w.start(w.config(withTLS + withMutualTLS + withCertificates))
	for address, want := range map[string]bool{w.front: false, w.mutual: true} {
		asked := false
		client := w.clientAt(address)
		client.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return &tls.Certificate{}, nil
		}
		w.handshake(client)
		if asked != want {
			t.Errorf("%s of %s (front) and %s asked: %v", address, w.front, w.mutual, asked)
		}
		for _, header := range []string{":" + base64.StdEncoding.EncodeToString(w.spiffe.Leaf.Raw) + ":", url.PathEscape(inPEM(w.spiffe.Leaf))} {
			client.Transport = with{w.clientAt(address).Transport, "Client-Cert", header}
			if raw, refused := tokenIn(w.post(client, serveIssuer+"/oauth2/token", w.credentials("client_id", "spiffe"))); raw != "" {
				t.Errorf("a header is a certificate at %s: %s", address, refused)
			}
		}
	}
	if raw, refused := tokenIn(w.post(w.clientAt(w.front, w.spiffe), serveIssuer+"/oauth2/token", w.credentials("client_id", "spiffe"))); raw != "" || !strings.Contains(refused, "invalid_client") {
		t.Errorf("at the ordinary listener: %q, %s", raw, refused)
	}
}

// with sends a header with every request.
type with struct {
	http.RoundTripper
	name, value string
}

func (h with) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(h.name, h.value)
	return h.RoundTripper.RoundTrip(r)
}

func TestMetadataNamesTheEndpointsForCertificates(t *testing.T) {
	w := newCertified(t)
	for name, tt := range map[string]struct {
		config  string
		methods []string // by certificate
		aliases bool
	}{
		"listener and authorities": {withTLS + withMutualTLS + "client_ca: ca.pem\n", []string{"tls_client_auth", "self_signed_tls_client_auth"}, true},
		"listener alone":           {withTLS + withMutualTLS, []string{"self_signed_tls_client_auth"}, true},
		"authorities alone":        {withTLS + "client_ca: ca.pem\n", nil, false},
		"a proxy":                  {withTLS + "client_ca: ca.pem\ntrusted_proxies: {addresses: [192.0.2.1], client_certificate: Client-Cert}\n", []string{"tls_client_auth", "self_signed_tls_client_auth"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			stop := w.restart(w.config(tt.config))
			defer stop()
			doc := w.metadata()
			var methods []string
			for _, m := range doc["token_endpoint_auth_methods_supported"].([]any) {
				if strings.Contains(m.(string), "tls") {
					methods = append(methods, m.(string))
				}
			}
			aliases, _ := doc["mtls_endpoint_aliases"].(map[string]any)
			if !slices.Equal(methods, tt.methods) || (aliases["token_endpoint"] == mutualURL+"/oauth2/token") != tt.aliases || (len(aliases) == 5) != tt.aliases {
				t.Errorf("methods %q, aliases %v", methods, aliases)
			}
			for host, want := range map[string]bool{serveHost: true, serveHost + ":8443": tt.aliases, "evil.example": false, serveHost + ":8444": false} {
				req, err := http.NewRequest(http.MethodGet, serveIssuer+"/.well-known/oauth-authorization-server", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = host
				if status, _ := w.do(w.client(), req); (status == http.StatusOK) != want || !want && status != http.StatusMisdirectedRequest {
					t.Errorf("Host %s: %d", host, status)
				}
			}
		})
	}
}
