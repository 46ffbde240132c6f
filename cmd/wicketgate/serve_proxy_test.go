package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refusalsFrom makes a request without a token, forwarded for addresses, and
// returns the sources of the refusals in the audit log.
func (w *world) refusalsFrom(forwarded string) []string {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.issuer+"/mcp/mail", strings.NewReader("{}"))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", forwarded)
	w.do(w.client(), req)
	b, err := os.ReadFile(filepath.Join(w.dir, "data", fileAudit))
	if err != nil {
		w.t.Fatal(err)
	}
	var sources []string
	for line := range strings.Lines(string(b)) {
		var l struct{ Kind, Source string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			w.t.Fatal(err)
		}
		if l.Kind == "refusal" {
			sources = append(sources, l.Source)
		}
	}
	return sources
}

func TestServeIgnoresForwardedAddressFromAnUnlistedAddress(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS + "trusted_proxies: {addresses: [192.0.2.1]}\n"))
	if got := w.refusalsFrom("203.0.113.9"); len(got) != 1 || got[0] != "127.0.0.1" {
		t.Errorf("sources %q", got)
	}
}

func TestServeIgnoresForwardedAddressWithoutTrustedProxies(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS))
	if got := w.refusalsFrom("203.0.113.9"); len(got) != 1 || got[0] != "127.0.0.1" {
		t.Errorf("sources %q", got)
	}
}

func TestServeBelievesTheLastHopOfAListedAddressOnly(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS + "trusted_proxies: {addresses: [127.0.0.1, 192.0.2.0/24]}\n"))
	if got := w.refusalsFrom("6.6.6.6, 203.0.113.9, 192.0.2.8"); len(got) != 1 || got[0] != "203.0.113.9" {
		t.Errorf("sources %q", got)
	}
}

// Without TLS, an address that other machines reach is for the proxy alone.
func TestServePlainHTTPIsForTheProxyAlone(t *testing.T) {
	for proxy, want := range map[string]int{"192.0.2.1": http.StatusForbidden, "127.0.0.1": http.StatusOK} {
		w := newWorld(t, nil)
		w.start(w.config("listen: \":0\"\ntrusted_proxies: {addresses: [" + proxy + "]}\n"))
		req, err := http.NewRequest(http.MethodGet, "http://"+w.front+"/.well-known/oauth-authorization-server", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = serveHost // as a proxy passes it on
		status, body := w.do(http.DefaultClient, req)
		if status != want {
			t.Errorf("proxy %s: %d %s", proxy, status, body)
		}
		if want == http.StatusOK && !strings.Contains(body, `"issuer":"`+serveIssuer+`"`) {
			t.Errorf("the metadata is not of the configured issuer: %s", body)
		}
	}
}
