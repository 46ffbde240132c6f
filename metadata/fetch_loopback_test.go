package metadata_test

import (
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/wicketgate/wicketgate/metadata"
)

// TestLoopbackIsInsideUnlessSaidOtherwise has real sockets of this machine: what a
// server in development may fetch, and a real one may not.
func TestLoopbackIsInsideUnlessSaidOtherwise(t *testing.T) {
	plain := httptest.NewServer(says())
	t.Cleanup(plain.Close)
	for _, host := range []string{"127.0.0.1", "localhost", "dev.client.example"} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(scheme+" "+host, func(t *testing.T) {
				for _, allowed := range []bool{false, true} {
					w := newWorld(t, metadata.FetcherConfig{InsecureLoopback: allowed}, says())
					ca := newCA(t)
					w.server.TLS.Certificates = append(w.server.TLS.Certificates[:0], ca.issue(t, host))
					w.fetcher.Wire(ca.roots, nil) // the kernel's own connect
					w.dns["localhost"], w.dns["dev.client.example."] = [][]string{{"127.0.0.1"}}, [][]string{{"127.0.0.1"}}
					u := url.URL{Scheme: scheme, Host: host + ":" + port(t, map[string]string{"http": plain.URL, "https": w.server.URL}[scheme]), Path: "/id.json"}
					if !allowed {
						_ = w.refuses(t, u.String())
						w.silent(t)
					} else if got, err := w.get(t, u.String()); err != nil || string(got.Body) != document {
						t.Errorf("Get(%s) = %q, %v", &u, got.Body, err)
					}
				}
			})
		}
	}
}

func port(t *testing.T, s string) string {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// TestLoopbackExceptionAllowsNothingElse: not the networks around, not http to
// strangers, and not the other spellings of 127.0.0.1.
func TestLoopbackExceptionAllowsNothingElse(t *testing.T) {
	for _, u := range []string{"http://client.example/x", "http://10.0.0.1/x", "https://10.0.0.1/x", "https://169.254.169.254/x", "http://0.0.0.0/x", "https://93.184.215.14/x", "http://[::]/x",
		"http://2130706433/x", "http://127.1/x", "http://0x7f.1/x", "http://0177.0.0.1/x", "http://127.0.0.01/x", "http://[::ffff:127.0.0.1]/x", "http://[0:0::1]/x", "http://[::1%25lo]/x", "http://[fe80::1]/x",
		"http://LOCALHOST/x", "http://localhost./x", "http://kubernetes/x", "http://user@localhost/x", "http://localhost/../x", "http://localhost/x#y", "ftp://localhost/x", "http://localhost"} {
		w := newWorld(t, metadata.FetcherConfig{InsecureLoopback: true}, says())
		_ = w.refuses(t, u)
		w.silent(t)
	}
	for _, addrs := range inside {
		for _, a := range addrs {
			if a == "127.0.0.0" || a == "127.0.0.1" || a == "127.255.255.255" || a == "::1" || a == "::ffff:127.0.0.1" {
				continue
			}
			for _, scheme := range []string{"http", "https"} {
				w := newWorld(t, metadata.FetcherConfig{InsecureLoopback: true}, says())
				w.dns["client.example."] = [][]string{{"127.0.0.1", a}}
				_ = w.refuses(t, scheme+"://client.example/id.json")
				w.silent(t)
			}
		}
	}
}
