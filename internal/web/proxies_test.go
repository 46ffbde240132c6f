package web_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/wicketgate/wicketgate/internal/web"
)

// A5: TestForgedForwardedAddressIsNotBelieved: the source of a request is what the
// nearest hop that we trust says, and nothing that a stranger could write.
func TestForgedForwardedAddressIsNotBelieved(t *testing.T) {
	p := web.Proxies{Header: "X-Forwarded-For", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}
	tests := []struct {
		name, peer string
		header     []string
		want       string
	}{
		{"unlisted address", "192.0.2.7:1234", []string{"203.0.113.9"}, "192.0.2.7"},
		{"unlisted address that names a proxy", "192.0.2.7:1234", []string{"203.0.113.9, 10.0.0.1"}, "192.0.2.7"},
		{"listed address", "10.0.0.1:1234", []string{"203.0.113.9"}, "203.0.113.9"},
		{"listed address in IPv6 form", "[::ffff:10.0.0.1]:1234", []string{"203.0.113.9"}, "203.0.113.9"},
		{"listed IPv6 address", "[2001:db8::1]:1234", []string{"2a00::9"}, "2a00::9"},
		{"forged on the left", "10.0.0.1:1234", []string{"6.6.6.6, 203.0.113.9"}, "203.0.113.9"},
		{"forged on the left, in a header of its own", "10.0.0.1:1234", []string{"6.6.6.6", "203.0.113.9"}, "203.0.113.9"},
		{"forged proxy on the left", "10.0.0.1:1234", []string{"10.6.6.6, 203.0.113.9"}, "203.0.113.9"},
		{"two proxies", "10.0.0.1:1234", []string{"6.6.6.6, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"only proxies", "10.0.0.1:1234", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"with ports", "10.0.0.1:1234", []string{"203.0.113.9:4711, [2001:db8::2]:4711"}, "203.0.113.9"},
		{"in brackets", "10.0.0.1:1234", []string{"[2a00::9]"}, "2a00::9"},
		{"no header", "10.0.0.1:1234", nil, "10.0.0.1"},
		{"empty", "10.0.0.1:1234", []string{""}, "10.0.0.1"},
		{"no address", "10.0.0.1:1234", []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		{"no address behind a proxy", "10.0.0.1:1234", []string{"203.0.113.9, x\ny, 10.0.0.2"}, "10.0.0.2"},
		{"no peer", "@", []string{"203.0.113.9"}, "@"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr, r.Header["X-Forwarded-For"] = tt.peer, tt.header
			var got string
			p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = web.Source(r) })).ServeHTTP(httptest.NewRecorder(), r)
			if got != tt.want {
				t.Errorf("source %q, want %q", got, tt.want)
			}
			if r.RemoteAddr != tt.peer {
				t.Errorf("the server's own request was changed to %q", r.RemoteAddr)
			}
		})
	}
}

// TestStrangerCannotGoAroundTheProxyThatDoesTLS: plain HTTP that other machines
// reach is for the proxy alone.
func TestStrangerCannotGoAroundTheProxyThatDoesTLS(t *testing.T) {
	var reasons []string
	p := web.Proxies{Header: "X-Forwarded-For", Only: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
		Refused: func(_ *http.Request, reason string) { reasons = append(reasons, reason) }}
	h := p.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for peer, want := range map[string]int{"10.0.0.1:1": http.StatusNoContent, "10.0.0.2:1": http.StatusForbidden, "127.0.0.1:1": http.StatusForbidden, "": http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", "10.0.0.1")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("peer %q: %d, want %d", peer, w.Code, want)
		}
	}
	if len(reasons) != 3 || reasons[0] != "peer" {
		t.Errorf("refusals %q", reasons)
	}
}

// TestListenerThatDoesTLSItselfIsNotForTheProxyAlone: workloads come to it directly, with
// their certificates, while people come through the proxy.
func TestListenerThatDoesTLSItselfIsNotForTheProxyAlone(t *testing.T) {
	p := web.Proxies{Header: "X-Forwarded-For", Only: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}
	workload := &x509.Certificate{}
	h := p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if web.Source(r) != "10.0.0.2" || web.ClientCertificate(r) != workload {
			t.Errorf("from %s, with certificate %v", web.Source(r), web.ClientCertificate(r) != nil)
		}
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr, r.TLS = "10.0.0.2:1", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{workload}}
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("10.0.0.1:1", "6.6.6.6, [2001:db8::1]:5")
	f.Add("1.2.3.4:1", "10.0.0.1")
	p := web.Proxies{Header: "X-Forwarded-For", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	f.Fuzz(func(t *testing.T, peer, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		before := web.Source(r)
		r.Header.Set("X-Forwarded-For", header)
		p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			after := web.Source(r)
			if _, err := netip.ParseAddr(after); err != nil && after != before {
				t.Errorf("peer %q, header %q: source %q", peer, header, after)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	})
}
