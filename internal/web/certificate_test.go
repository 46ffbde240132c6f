package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/web"
)

func newCertificate(t testing.TB, names ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// escape is what nginx does for $ssl_client_escaped_cert: nothing but unreserved
// characters stay.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestForwardedCertificateIsRead(t *testing.T) {
	cert := newCertificate(t)
	std := base64.StdEncoding.EncodeToString(cert.Raw)
	text := block("CERTIFICATE", cert.Raw)
	const bad = http.StatusBadRequest
	tests := map[string]struct {
		values []string
		status int // 0: passes
		none   bool
	}{
		"RFC 9440":                              {[]string{":" + std + ":"}, 0, false},
		"nginx":                                 {[]string{escape(text)}, 0, false},
		"nginx, only newlines and spaces":       {[]string{strings.NewReplacer("\n", "%0A", " ", "%20").Replace(text)}, 0, false},
		"no header":                             {nil, 0, true},
		"an empty header":                       {[]string{""}, 0, true},
		"two headers":                           {[]string{":" + std + ":", ":" + std + ":"}, bad, false},
		"two headers, one empty":                {[]string{"", ":" + std + ":"}, bad, false},
		"two in one header":                     {[]string{":" + std + ":, :" + std + ":"}, bad, false},
		"with a parameter":                      {[]string{":" + std + ":;a=1"}, bad, false},
		"two PEM blocks":                        {[]string{escape(text + text)}, bad, false},
		"something before the PEM block":        {[]string{escape("x\n" + text)}, bad, false},
		"a PEM block of a key":                  {[]string{escape(block("PUBLIC KEY", cert.Raw))}, bad, false},
		"PEM that is not escaped":               {[]string{strings.ReplaceAll(text, "\n", " ")}, bad, false},
		"a bad escape":                          {[]string{"%zz"}, bad, false},
		"no colon at the end":                   {[]string{":" + std}, bad, false},
		"one colon":                             {[]string{":"}, bad, false},
		"two colons":                            {[]string{"::"}, bad, false},
		"no base64":                             {[]string{":%%:"}, bad, false},
		"base64 without padding or certificate": {[]string{":AA:"}, bad, false},
		"more after the certificate":            {[]string{":" + base64.StdEncoding.EncodeToString(append(cert.Raw, 0)) + ":"}, bad, false},
		"half a certificate":                    {[]string{":" + base64.StdEncoding.EncodeToString(cert.Raw[:60]) + ":"}, bad, false},
		"(null), as some proxies say":           {[]string{"(null)"}, bad, false},
		"17 KiB":                                {[]string{":" + base64.StdEncoding.EncodeToString(newCertificate(t, strings.Repeat("a", 13<<10)).Raw) + ":"}, bad, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var reasons []string
			p := web.Proxies{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, ClientCertificate: "X-Cert",
				Refused: func(_ *http.Request, reason string) { reasons = append(reasons, reason) }}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr, r.Header["X-Cert"] = "10.0.0.1:1", test.values
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{newCertificate(t)}} // the proxy's own
			w := httptest.NewRecorder()
			p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				switch got := web.ClientCertificate(r); {
				case test.status != 0:
					t.Error("the request got through")
				case test.none && got != nil, !test.none && !cert.Equal(got):
					t.Errorf("certificate %v", got)
				}
			})).ServeHTTP(w, r)
			if test.status != 0 && (w.Code != test.status || len(reasons) != 1 || reasons[0] != "certificate") {
				t.Errorf("%d %s, refusals %q", w.Code, w.Body, reasons)
			}
		})
	}
}

// A5: TestCertificateHeadersReachNobody: whatever is behind may be less careful.
func TestCertificateHeadersReachNobody(t *testing.T) {
	value := ":" + base64.StdEncoding.EncodeToString(newCertificate(t).Raw) + ":"
	for name, p := range map[string]web.Proxies{
		"nothing configured":  {},
		"a proxy":             {Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}},
		"a proxy, configured": {Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, ClientCertificate: "x-cert"},
	} {
		for _, peer := range []string{"10.0.0.1:1", "192.0.2.7:1"} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = peer
			for _, h := range []string{"Client-Cert", "Client-Cert-Chain", "X-Cert", "X-Other"} {
				r.Header.Set(h, value)
			}
			p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				for h := range r.Header {
					if h != "X-Other" && (h != "X-Cert" || p.ClientCertificate != "") {
						t.Errorf("%s, from %s: %s got through", name, peer, h)
					}
				}
				if got := web.ClientCertificate(r) != nil; got != (p.ClientCertificate != "" && peer == "10.0.0.1:1") {
					t.Errorf("%s, from %s: a certificate: %v", name, peer, got)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
			if len(r.Header) != 4 {
				t.Errorf("%s, from %s: the server's own request was changed", name, peer)
			}
		}
	}
}

func FuzzForwardedCertificate(f *testing.F) {
	cert := newCertificate(f)
	f.Add(":" + base64.StdEncoding.EncodeToString(cert.Raw) + ":")
	f.Add(escape(block("CERTIFICATE", cert.Raw)))
	f.Add("%2")
	p := web.Proxies{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, ClientCertificate: "X-Cert"}
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Header["X-Cert"] = "10.0.0.1:1", []string{value}
		w := httptest.NewRecorder()
		p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if (web.ClientCertificate(r) == nil) != (value == "") {
				t.Errorf("%q got through", value)
			}
		})).ServeHTTP(w, r)
	})
}
