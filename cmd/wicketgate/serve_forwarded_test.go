package main

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A5: TestForwardedCertificateCountsFromTheNamedProxyOnly, in the header that the
// configuration names: everything else is what a client may have written.
func TestForwardedCertificateCountsFromTheNamedProxyOnly(t *testing.T) {
	const proxy, stranger = "trusted_proxies: {addresses: [127.0.0.1], ", "trusted_proxies: {addresses: [192.0.2.1], "
	w := newCertified(t)
	rfc9440 := func(raw []byte) string { return ":" + base64.StdEncoding.EncodeToString(raw) + ":" }
	nginx := url.PathEscape(inPEM(w.spiffe.Leaf))
	for name, tt := range map[string]struct {
		config       string
		header, cert string
		status       int
	}{
		"RFC 9440":                               {proxy + "client_certificate: Client-Cert}\n", "Client-Cert", rfc9440(w.spiffe.Leaf.Raw), http.StatusOK},
		"nginx":                                  {proxy + "client_certificate: X-SSL-Cert}\n", "X-SSL-Cert", nginx, http.StatusOK},
		"of another client":                      {proxy + "client_certificate: Client-Cert}\n", "Client-Cert", rfc9440(w.named.Leaf.Raw), http.StatusUnauthorized},
		"of another authority":                   {proxy + "client_certificate: Client-Cert}\n", "Client-Cert", rfc9440(w.fake.Leaf.Raw), http.StatusUnauthorized},
		"the proxy saw none":                     {proxy + "client_certificate: X-SSL-Cert}\n", "X-SSL-Cert", "", http.StatusUnauthorized},
		"malformed":                              {proxy + "client_certificate: Client-Cert}\n", "Client-Cert", "garbage", http.StatusBadRequest},
		"the client's own header, by that proxy": {proxy + "client_certificate: X-SSL-Cert}\n", "Client-Cert", rfc9440(w.spiffe.Leaf.Raw), http.StatusUnauthorized},
		"a stranger's":                           {stranger + "client_certificate: Client-Cert}\n", "Client-Cert", rfc9440(w.spiffe.Leaf.Raw), http.StatusUnauthorized},
		"a stranger's, for nginx":                {stranger + "client_certificate: X-SSL-Cert}\n", "X-SSL-Cert", nginx, http.StatusUnauthorized},
		"by a proxy that is not to say so":       {withTLS + withMutualTLS + proxy + "header: X-Forwarded-For}\n", "Client-Cert", rfc9440(w.spiffe.Leaf.Raw), http.StatusUnauthorized},
		"by nobody's proxy":                      {withTLS + withMutualTLS, "Client-Cert", rfc9440(w.spiffe.Leaf.Raw), http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			config := tt.config + withCertificates
			client, base := w.client, serveIssuer
			if !strings.Contains(config, "tls: {") {
				config += "listen: 127.0.0.1:0\n"
				client, base = func() *http.Client { return &http.Client{Transport: asHost{http.DefaultTransport}} }, "http://"
			}
			stop := w.restart(w.config(config))
			defer stop()
			if base == "http://" {
				base += w.front
			}
			c := client()
			c.Transport = with{c.Transport, tt.header, tt.cert}
			if status, body := w.post(c, base+"/oauth2/token", w.credentials("client_id", "spiffe")); status != tt.status || status == http.StatusUnauthorized && !strings.Contains(body, "invalid_client") {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

// asHost passes the issuer's Host on, as a proxy does.
type asHost struct{ http.RoundTripper }

func (h asHost) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = serveHost
	return h.RoundTripper.RoundTrip(r)
}
