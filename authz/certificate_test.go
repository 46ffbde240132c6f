package authz_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
	more [][]byte // sent after it
}

func (i issued) base64() string { return base64.StdEncoding.EncodeToString(i.cert.Raw) }

// issue makes a certificate that the issuer signs; a nil one is itself.
func issue(t testing.TB, issuer *issued, key crypto.Signer, change func(*x509.Certificate)) issued {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: began.Add(-time.Hour), NotAfter: began.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))(t)
	return issued{cert: must(x509.ParseCertificate(der))(t), key: key}
}

func selfSigned(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) issued {
	t.Helper()
	return issue(t, nil, key, change)
}

func newCA(t testing.TB, issuer *issued) issued {
	t.Helper()
	return issue(t, issuer, newKey(), func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.BasicConstraintsValid = pkix.Name{CommonName: "CA " + rand.Text()}, true, true
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, nil
	})
}

// leaf is a certificate with names.
func (i issued) leaf(t testing.TB, change func(*x509.Certificate)) issued {
	t.Helper()
	return issue(t, &i, newKey(), change)
}

// tlsWorld is a world behind a TLS listener that asks for certificates.
type tlsWorld struct {
	*world
	ca  issued
	srv *httptest.Server
}

func newTLSWorld(t testing.TB, proxies web.Proxies) *tlsWorld {
	t.Helper()
	ca := newCA(t, nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return tlsWorldOf(t, proxies, ca, newWorld(t, func(c *authz.Config) { c.ClientCAs = pool }))
}

func tlsWorldOf(t testing.TB, proxies web.Proxies, ca issued, w *world) *tlsWorld {
	t.Helper()
	tw := &tlsWorld{w, ca, httptest.NewUnstartedServer(proxies.Wrap(w.handler))}
	tw.srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	tw.srv.StartTLS()
	t.Cleanup(tw.srv.Close)
	return tw
}

func (w *tlsWorld) in(t testing.TB) *tlsWorld { return &tlsWorld{w.world.in(t), w.ca, w.srv} }

// registerTLS puts a client with a name.
func (w *tlsWorld) registerTLS(name string) {
	w.t.Helper()
	w.static("mutual", func(c *authz.Client) { c.AuthMethod, c.JWKS, c.TLSName = oauth.AuthTLS, nil, name })
}

// connect asks for a token over a new connection with the certificate, if any.
func (w *tlsWorld) connect(cert *issued, id string, header http.Header, changes ...change) answer {
	w.t.Helper()
	transport := w.srv.Client().Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	if cert != nil {
		chain := append([][]byte{cert.cert.Raw}, cert.more...)
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: chain, PrivateKey: cert.key}, nil
		}
	}
	form := with(url.Values{"grant_type": {grantEcho}, "client_id": {id}}, changes...)
	r := must(http.NewRequestWithContext(w.t.Context(), "POST", w.srv.URL+authz.PathToken, strings.NewReader(form.Encode())))(w.t)
	r.Host = strings.TrimPrefix(w.url, "http://")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := transport.RoundTrip(r)
	noError(w.t, err)
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(must(io.ReadAll(resp.Body))(w.t))}
	noError(w.t, json.Unmarshal([]byte(a.body), &a))
	return a
}

func uri(t testing.TB, s string) *url.URL { return must(url.Parse(s))(t) }

func TestCertificateOfAnAuthority(t *testing.T) {
	w := newTLSWorld(t, web.Proxies{})
	agent := pkix.Name{CommonName: "agent", Organization: []string{"Example, Inc."}, Country: []string{"DE"}}
	between := newCA(t, &w.ca)
	san := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	tests := map[string]struct {
		name string // registered
		cert issued
		ok   bool
	}{
		"dn":                               {`dn:CN=agent,O=Example\, Inc.,C=DE`, w.ca.leaf(t, func(c *x509.Certificate) { c.Subject = agent }), true},
		"dns":                              {"dns:agent.example", w.ca.leaf(t, san("agent.example")), true},
		"dns in another case":              {"dns:Agent.example", w.ca.leaf(t, san("agent.EXAMPLE")), true},
		"dns among others":                 {"dns:agent.example", w.ca.leaf(t, san("a.example", "agent.example")), true},
		"uri":                              {"uri:spiffe://example/agent", w.ca.leaf(t, func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, "spiffe://example/agent")} }), true},
		"ip":                               {"ip:192.0.2.7", w.ca.leaf(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("192.0.2.7")} }), true},
		"ip, version 6":                    {"ip:2001:db8:0::7", w.ca.leaf(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("2001:db8::7")} }), true},
		"email":                            {"email:agent@example.com", w.ca.leaf(t, func(c *x509.Certificate) { c.EmailAddresses = []string{"agent@example.com"} }), true},
		"by an intermediate that it sends": {"dns:agent.example", withChain(between.leaf(t, san("agent.example")), between), true},
		"by an intermediate that it lacks": {"dns:agent.example", between.leaf(t, san("agent.example")), false},
		"of another's CA":                  {"dns:agent.example", newCA(t, nil).leaf(t, san("agent.example")), false},
		"of another's CA, which it sends":  {"dns:agent.example", foreign(t, san("agent.example")), false},
		"self-signed":                      {"dns:agent.example", selfSigned(t, newKey(), san("agent.example")), false},
		"signed by a leaf":                 {"dns:agent.example", underLeaf(t, w.ca, san("agent.example")), false},
		"expired":                          {"dns:agent.example", w.ca.leaf(t, expired(san("agent.example"))), false},
		"not good yet":                     {"dns:agent.example", w.ca.leaf(t, early(san("agent.example"))), false},
		"for servers only":                 {"dns:agent.example", w.ca.leaf(t, forServers(san("agent.example"))), false},
		"of another client":                {"dns:agent.example", w.ca.leaf(t, san("other.example")), false},
		"without a name":                   {"dns:agent.example", w.ca.leaf(t, nil), false},
		"dns: a prefix of the registered":  {"dns:agent.example", w.ca.leaf(t, san("agent.exampl")), false},
		"dns: longer than the registered":  {"dns:agent.example", w.ca.leaf(t, san("agent.example.evil.example")), false},
		"dns: below the registered":        {"dns:agent.example", w.ca.leaf(t, san("x.agent.example")), false},
		"dns: a wildcard":                  {"dns:agent.example", w.ca.leaf(t, san("*.example")), false},
		"dns: a wildcard, registered":      {"dns:*.example", w.ca.leaf(t, san("agent.example")), false},
		"dns: a wildcard, both":            {"dns:*.example", w.ca.leaf(t, san("*.example")), false},
		"dns: in the common name only":     {"dns:agent.example", w.ca.leaf(t, func(c *x509.Certificate) { c.Subject.CommonName = "agent.example" }), false},
		"dns: as a URI":                    {"dns:agent.example", w.ca.leaf(t, func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, "https://agent.example")} }), false},
		"uri: a prefix of the registered":  {"uri:spiffe://example/agent", w.ca.leaf(t, func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, "spiffe://example/age")} }), false},
		"uri: below the registered":        {"uri:spiffe://example/agent", w.ca.leaf(t, func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, "spiffe://example/agent/x")} }), false},
		"uri: in another case":             {"uri:spiffe://example/agent", w.ca.leaf(t, func(c *x509.Certificate) { c.URIs = []*url.URL{uri(t, "spiffe://example/Agent")} }), false},
		"ip: as a dns name":                {"ip:192.0.2.7", w.ca.leaf(t, san("192.0.2.7")), false},
		"ip: a network":                    {"ip:192.0.2.0/24", w.ca.leaf(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("192.0.2.7")} }), false},
		"email: another of the host":       {"email:agent@example.com", w.ca.leaf(t, func(c *x509.Certificate) { c.EmailAddresses = []string{"other@example.com"} }), false},
		"dn: the common name only":         {"dn:CN=agent", w.ca.leaf(t, func(c *x509.Certificate) { c.Subject = agent }), false},
		"dn: an attribute more": {"dn:CN=agent", w.ca.leaf(t, func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: "agent", OrganizationalUnit: []string{"x"}}
		}), false},
		"dn: in another order":             {`dn:C=DE,O=Example\, Inc.,CN=agent`, w.ca.leaf(t, func(c *x509.Certificate) { c.Subject = agent }), false},
		"dn: in another case":              {`dn:CN=Agent`, w.ca.leaf(t, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "agent"} }), false},
		"dn: two attributes inside one":    {`dn:CN=agent,O=Example`, w.ca.leaf(t, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "agent,O=Example"} }), false},
		"dn: that of the issuer":           {"dn:" + w.ca.cert.Subject.String(), w.ca.leaf(t, func(c *x509.Certificate) { c.Subject = agent }), false},
		"dn: empty on both sides":          {"dn:", w.ca.leaf(t, nil), false},
		"no name registered":               {"", w.ca.leaf(t, san("agent.example")), false},
		"a name registered without a kind": {"agent.example", w.ca.leaf(t, san("agent.example")), false},
		"a kind that there is not":         {"cn:agent", w.ca.leaf(t, func(c *x509.Certificate) { c.Subject.CommonName = "agent" }), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.registerTLS(test.name)
			a := w.connect(&test.cert, "mutual", nil)
			if test.ok {
				w.wantOK(a)
			} else {
				w.wantRefused(a)
			}
		})
	}
}

func withChain(leaf issued, chain ...issued) issued {
	for _, c := range chain {
		leaf.more = append(leaf.more, c.cert.Raw)
	}
	return leaf
}

func foreign(t testing.TB, change func(*x509.Certificate)) issued {
	ca := newCA(t, nil)
	return withChain(ca.leaf(t, change), ca)
}

func underLeaf(t testing.TB, ca issued, change func(*x509.Certificate)) issued {
	leaf := ca.leaf(t, func(c *x509.Certificate) { c.Subject.CommonName = "leaf" })
	return withChain(leaf.leaf(t, change), leaf)
}

func expired(f func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) { f(c); c.NotAfter = began.Add(-time.Minute) }
}

func early(f func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) { f(c); c.NotBefore = began.Add(time.Minute) }
}

func forServers(f func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) { f(c); c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
}

func TestCertificateIsOneMethodOfSeveral(t *testing.T) {
	w := newTLSWorld(t, web.Proxies{})
	w.registerTLS("dns:agent.example")
	w.static("asserts")
	w.static("public", func(c *authz.Client) { c.AuthMethod, c.JWKS = oauth.AuthNone, nil })
	good := w.ca.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"agent.example"} })
	w.wantOK(w.connect(&good, "mutual", nil))
	w.wantOK(w.connect(&good, "public", nil)) // it proves nothing, and need not
	w.wantOK(w.connect(&good, "asserts", nil, change{"client_assertion_type": {oauth.AssertionJWTBearer}, "client_assertion": {es256(t, w.claims("asserts"))}}))
	w.wantRefused(w.connect(nil, "mutual", nil))
	w.wantRefused(w.connect(&good, "nobody", nil))
	w.wantRefused(w.connect(&good, "asserts", nil))
	w.wantRefused(w.connect(&good, "agent", nil))
	w.wantRefused(w.connect(&good, "", nil))
	w.wantRefused(w.connect(&good, "mutual", nil, change{"client_secret": {"x"}}))
}

// TestWithoutAuthoritiesNoneOfTheSystemCount: a pool that is nil means those to Go.
func TestWithoutAuthoritiesNoneOfTheSystemCount(t *testing.T) {
	ca := newCA(t, nil)
	file := filepath.Join(t.TempDir(), "roots.pem")
	noError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600))
	t.Setenv("SSL_CERT_FILE", file)
	leaf := ca.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"agent.example"} })
	if _, err := leaf.cert.Verify(x509.VerifyOptions{CurrentTime: began, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Skip("the authorities of the system were read before this test: ", err)
	}
	w := tlsWorldOf(t, web.Proxies{}, ca, newWorld(t))
	w.registerTLS("dns:agent.example")
	w.wantRefused(w.connect(&leaf, "mutual", nil))
}

func TestSelfSignedCertificate(t *testing.T) {
	w := newTLSWorld(t, web.Proxies{})
	key := testKeys()["RS256"]
	own := selfSigned(t, key, nil)
	w.static("by-key", func(c *authz.Client) { c.AuthMethod, c.JWKS = oauth.AuthSelfSignedTLS, jwks(jwkOf(key.Public(), nil)) })
	w.static("by-certificate", func(c *authz.Client) {
		c.AuthMethod, c.JWKS = oauth.AuthSelfSignedTLS, jwks(jwkOf(key.Public(), object{"x5c": []string{own.base64()}}))
	})
	w.static("by-name", func(c *authz.Client) {
		c.AuthMethod, c.TLSName, c.JWKS = oauth.AuthSelfSignedTLS, "dns:agent.example", nil
	})
	named := func(c *x509.Certificate) { c.DNSNames = []string{"agent.example"} }
	none := func(*x509.Certificate) {}
	tests := map[string]struct {
		client string
		cert   issued
		ok     bool
	}{
		"of the key":                               {"by-key", own, true},
		"another of the key":                       {"by-key", selfSigned(t, key, named), true},
		"of the key, by an authority":              {"by-key", issue(t, &w.ca, key, nil), true},
		"the very one":                             {"by-certificate", own, true},
		"not the very one":                         {"by-certificate", selfSigned(t, key, named), false},
		"of another key":                           {"by-key", selfSigned(t, newKey(), nil), false},
		"of another key, by an authority":          {"by-key", w.ca.leaf(t, nil), false},
		"expired":                                  {"by-key", selfSigned(t, key, expired(none)), false},
		"not good yet":                             {"by-key", selfSigned(t, key, early(none)), false},
		"by an authority, of a client without one": {"by-name", w.ca.leaf(t, named), false},
		"of the key after another's":               {"by-key", withChain(selfSigned(t, newKey(), nil), own), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a := w.connect(&test.cert, test.client, nil)
			if test.ok {
				w.wantOK(a)
			} else {
				w.wantRefused(a)
			}
		})
	}
}

func TestRotatedSelfSignedCertificateIsFetched(t *testing.T) {
	k := newKeyServer(t)
	w := tlsWorldOf(t, web.Proxies{}, issued{}, k.w)
	w.static("real", func(c *authz.Client) { c.AuthMethod, c.JWKS, c.JWKSURI = oauth.AuthSelfSignedTLS, nil, k.URL+"/keys" })
	first, second := selfSigned(t, newKey(), nil), selfSigned(t, newKey(), nil)
	k.publish(time.Hour, jwkOf(first.key.Public(), nil))
	w.wantOK(w.connect(&first, "real", nil))
	k.publish(time.Hour, jwkOf(second.key.Public(), nil))
	k.w.clock.advance(30 * time.Second)
	w.wantOK(w.connect(&second, "real", nil))
	w.wantRefused(w.connect(&first, "real", nil))
	k.wantFetches(t, 2)
}

// TestForwardedCertificate: only the header that is configured, and only from the proxy.
func TestForwardedCertificate(t *testing.T) {
	const header = "Client-Cert"
	proxy := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
	stranger := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	tests := map[string]struct {
		proxies   web.Proxies
		own       bool // the connection itself has the certificate
		forwarded bool
		ok        bool
	}{
		"no proxy, a certificate of the connection":            {web.Proxies{}, true, false, true},
		"no proxy, a header from a stranger":                   {web.Proxies{}, false, true, false},
		"a header from a stranger, though configured":          {web.Proxies{Addresses: stranger, ClientCertificate: header}, false, true, false},
		"a stranger's own certificate":                         {web.Proxies{Addresses: stranger, ClientCertificate: header}, true, false, true},
		"a header from the proxy":                              {web.Proxies{Addresses: proxy, ClientCertificate: header}, false, true, true},
		"a header smuggled through a proxy that forwards none": {web.Proxies{Addresses: proxy}, false, true, false},
		"a header smuggled beside the configured one":          {web.Proxies{Addresses: proxy, ClientCertificate: "X-Certificate"}, false, true, false},
		"the proxy's own certificate":                          {web.Proxies{Addresses: proxy, ClientCertificate: header}, true, false, false},
		"the own certificate of a proxy that forwards none":    {web.Proxies{Addresses: proxy}, true, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newTLSWorld(t, test.proxies)
			w.registerTLS("dns:agent.example")
			cert := w.ca.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"agent.example"} })
			var own *issued
			if test.own {
				own = &cert
			}
			h := http.Header{}
			if test.forwarded {
				h.Set(header, ":"+cert.base64()+":")
			}
			a := w.connect(own, "mutual", h)
			if test.ok {
				w.wantOK(a)
			} else {
				w.wantRefused(a)
			}
		})
	}
}

// TestDistinguishedNames: the canonical string of RFC 4514, and that openssl agrees.
func TestDistinguishedNames(t *testing.T) {
	w := newTLSWorld(t, web.Proxies{})
	openssl, noOpenSSL := exec.LookPath("openssl")
	attr := func(oid string, value any) pkix.AttributeTypeAndValue {
		var id asn1.ObjectIdentifier
		for n := range strings.SplitSeq(oid, ".") {
			i, _ := new(big.Int).SetString(n, 10)
			id = append(id, int(i.Int64()))
		}
		return pkix.AttributeTypeAndValue{Type: id, Value: value}
	}
	rdns := func(sets ...pkix.RelativeDistinguishedNameSET) []byte {
		return must(asn1.Marshal(pkix.RDNSequence(sets)))(t)
	}
	type set = pkix.RelativeDistinguishedNameSET
	cn := func(s string) []byte { return rdns(set{attr("2.5.4.3", s)}) }
	t61 := asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte("agent")}
	tests := map[string]struct {
		der  []byte
		want string
		own  bool // openssl spells it otherwise
	}{
		"RFC 4514 §4":             {rdns(set{attr("0.9.2342.19200300.100.1.25", "net")}, set{attr("0.9.2342.19200300.100.1.25", "example")}, set{attr("0.9.2342.19200300.100.1.1", "jsmith")}), "UID=jsmith,DC=example,DC=net", false},
		"multi-valued":            {rdns(set{attr("2.5.4.6", "US")}, set{attr("2.5.4.11", "Sales"), attr("2.5.4.3", "J. Smith")}), "OU=Sales+CN=J. Smith,C=US", true},
		"a quote and a plus":      {cn(`a"b+c`), `CN=a\"b\+c`, false},
		"a backslash":             {cn(`a\b`), `CN=a\\b`, false},
		"a number sign":           {cn(`#a`), `CN=\#a`, false},
		"spaces at the ends":      {cn(` a `), `CN=\ a\ `, false},
		"a space alone":           {cn(` `), `CN=\ `, false},
		"less, greater, semi":     {cn(`<a>;`), `CN=\<a\>\;`, false},
		"an equals sign":          {cn(`a=b`), `CN=a=b`, false},
		"beyond ASCII":            {cn("Łučić 日本"), "CN=Łučić 日本", false},
		"NUL":                     {cn("a\x00b"), `CN=a\00b`, true},
		"a type of no short name": {rdns(set{attr("1.3.6.1.4.1.99999.1", "x")}), "1.3.6.1.4.1.99999.1=#130178", false},
		"serialNumber":            {rdns(set{attr("2.5.4.5", "7")}), "2.5.4.5=#130137", true},
		"an old kind of string":   {rdns(set{attr("2.5.4.3", t61)}), "CN=#14056167656e74", true},
		"UTF8String":              {rdns(set{attr("2.5.4.3", asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("agent")})}), "CN=agent", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			cert := w.ca.leaf(t, func(c *x509.Certificate) { c.RawSubject = test.der })
			w.registerTLS("dn:" + test.want)
			w.wantOK(w.connect(&cert, "mutual", nil))
			if test.own || noOpenSSL != nil {
				return
			}
			cmd := exec.CommandContext(t.Context(), openssl, "x509", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb")
			cmd.Stdin = strings.NewReader(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.cert.Raw})))
			out := string(must(cmd.Output())(t))
			if got := strings.TrimSuffix(strings.TrimPrefix(out, "subject="), "\n"); got != test.want {
				t.Errorf("openssl says %q, want %q", got, test.want)
			}
		})
	}
}
