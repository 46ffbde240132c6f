package metadata_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/metadata"
)

// A27: TestRedirectIsNotFollowed: it would lead past every check of the URL.
func TestRedirectIsNotFollowed(t *testing.T) {
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		for _, to := range []string{"https://client.example/elsewhere", "/elsewhere", "http://169.254.169.254/"} {
			t.Run(fmt.Sprint(status, " ", to), func(t *testing.T) {
				w := newWorld(t, metadata.FetcherConfig{}, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/elsewhere" {
						says()(w, r)
						return
					}
					w.Header().Set("Location", to)
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(status)
				})
				_ = w.refuses(t, clientURL)
				if len(w.seen) != 1 {
					t.Errorf("%d requests", len(w.seen))
				}
			})
		}
	}
}

func TestOnlyStatus200IsADocument(t *testing.T) {
	for _, status := range []int{201, 202, 203, 204, 205, 206, 226, 400, 401, 403, 404, 410, 418, 429, 500, 503, 599} {
		w := newWorld(t, metadata.FetcherConfig{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, document)
		})
		_ = w.refuses(t, clientURL)
	}
}

func TestOnlyJSONIsADocument(t *testing.T) {
	for contentType, ok := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "Application/JSON": true, "application/jwk-set+json": true, "application/cimd+json": true,
		"": false, "text/html": false, "text/plain": false, "text/json": false, "text/x+json": false, "image/svg+json": false, "application/jsonp": false, "application/json-seq": false,
		"application/octet-stream": false, "application/jose": false, "application/": false, "json": false, "application/json, text/html": false, ";": false,
	} {
		w := newWorld(t, metadata.FetcherConfig{}, says("Content-Type", contentType))
		if ok {
			if got, err := w.get(t, clientURL); err != nil || string(got.Body) != document {
				t.Errorf("%q: %q, %v", contentType, got.Body, err)
			}
			continue
		}
		_ = w.refuses(t, clientURL)
	}
	w := newWorld(t, metadata.FetcherConfig{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{"application/json", "text/html"}
	})
	_ = w.refuses(t, clientURL)
}

// TestGzipBomb: nothing is unpacked, and nobody is asked to pack.
func TestGzipBomb(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	for _, coding := range []string{"gzip", "GZIP", "deflate", "br", "zstd", "identity", "gzip, gzip", ""} {
		w := newWorld(t, metadata.FetcherConfig{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", coding)
			_, _ = w.Write(bomb.Bytes())
		})
		_ = w.refuses(t, clientURL)
		if diff := cmp.Diff([]string{"identity"}, w.seen[0].Header.Values("Accept-Encoding")); diff != "" {
			t.Errorf("Accept-Encoding (-want +got):\n%s", diff)
		}
	}
}

// TestLongDocument ends at the limit, whether its length was announced or not, and
// whether it ends at all.
func TestLongDocument(t *testing.T) {
	for name, test := range map[string]struct {
		length    int
		announced bool
		ok        bool
	}{
		"of the limit":                  {5 << 10, true, true},
		"of the limit, not announced":   {5 << 10, false, true},
		"one over":                      {5<<10 + 1, true, false},
		"one over, not announced":       {5<<10 + 1, false, false},
		"without end":                   {1 << 40, false, false},
		"without end, and announced so": {1 << 40, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			w := newWorld(t, metadata.FetcherConfig{}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if test.announced {
					w.Header().Set("Content-Length", fmt.Sprint(test.length))
				}
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				for left := test.length; left > 0; left -= 1024 {
					if _, err := w.Write(make([]byte, min(left, 1024))); err != nil || r.Context().Err() != nil {
						return
					}
					sent.Add(1024)
				}
			})
			if test.ok {
				if got, err := w.get(t, clientURL); err != nil || len(got.Body) != test.length {
					t.Errorf("%d bytes, %v", len(got.Body), err)
				}
				return
			}
			_ = w.refuses(t, clientURL)
			if w.server.Close(); sent.Load() > 32<<20 { // the buffers of two sockets
				t.Errorf("%d bytes were taken", sent.Load())
			}
		})
	}
}

func TestLimitOfNothingRefuses(t *testing.T) {
	for _, limit := range []int64{0, -1, -1 << 63} {
		w := newWorld(t, metadata.FetcherConfig{}, says())
		if got, err := w.fetcher.Get(t.Context(), clientURL, limit); !errors.Is(err, metadata.ErrFetch) {
			t.Errorf("limit %d: %q, %v", limit, got.Body, err)
		}
	}
}

// TestDocumentThatBreaksOff is none.
func TestDocumentThatBreaksOff(t *testing.T) {
	for name, raw := range map[string]string{
		"before its announced end": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{}",
		"within a chunk":           "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
		"without the last chunk":   "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"before the header's end":  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
		"and is not HTTP":          "220 mail.example ESMTP\r\n",
		"with two lengths":         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"with a coded transfer":    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) { _ = newWorld(t, metadata.FetcherConfig{}, writes(raw)).refuses(t, clientURL) })
	}
}

func TestHeaderFlood(t *testing.T) {
	for name, raw := range map[string]string{
		"one long line":          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n{}",
		"many lines":             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + strings.Repeat("X: y\r\n", 8<<10) + "\r\n{}",
		"many interim responses": strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 8<<10) + "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) { _ = newWorld(t, metadata.FetcherConfig{}, writes(raw)).refuses(t, clientURL) })
	}
}

// writes is a server that answers with these bytes and hangs up.
func writes(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, raw)
			_ = conn.Close()
		}
	}
}

// TestConnectionsAreNotKept, nor cookies, nor TLS sessions: two fetches have
// nothing in common.
func TestConnectionsAreNotKept(t *testing.T) {
	w := newWorld(t, metadata.FetcherConfig{}, says("Set-Cookie", "a=b; Path=/"))
	for range 3 {
		if _, err := w.get(t, clientURL); err != nil {
			t.Fatal(err)
		}
	}
	if w.conns != 3 {
		t.Errorf("%d connections for 3 fetches", w.conns)
	}
	for _, r := range w.seen {
		want := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {"Wicketgate"}, "Connection": {"close"}}
		if diff := cmp.Diff(want, r.Header); diff != "" || r.Method != http.MethodGet || r.TLS.DidResume {
			t.Errorf("method %s, resumed %v, header (-want +got):\n%s", r.Method, r.TLS.DidResume, diff)
		}
	}
}

// TestProxyOfTheEnvironmentIsIgnored runs itself in a process that has one, for
// net/http reads the environment once.
func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	const inside = "WICKETGATE_TEST_PROXY"
	if os.Getenv(inside) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyOfTheEnvironmentIsIgnored$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1", "HTTPS_PROXY=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1", "ALL_PROXY=http://127.0.0.1:1", "NO_PROXY=", "no_proxy=")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	req, err := http.NewRequest(http.MethodGet, clientURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err := http.ProxyFromEnvironment(req); proxy == nil {
		t.Fatalf("no proxy in the environment: %v", err)
	}
	w := newWorld(t, metadata.FetcherConfig{}, says())
	if _, err := w.get(t, clientURL); err != nil {
		t.Error(err)
	}
}

// TestImpostorOfTheHost: without the host's own certificate it is not the host.
func TestImpostorOfTheHost(t *testing.T) {
	other := newCA(t)
	for name, change := range map[string]func(w *world){
		"another name":              func(w *world) { w.dns["other.example."] = [][]string{{clientIP}} },
		"an authority nobody knows": func(w *world) { w.fetcher.Wire(other.roots, w.reach) },
		"the system's authorities":  func(w *world) { w.fetcher.Wire(nil, w.reach) },
		"TLS 1.1":                   func(w *world) { w.server.TLS.MaxVersion = tls.VersionTLS11 },
		"no TLS":                    func(w *world) { w.fetcher.Wire(x509.NewCertPool(), plain) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, metadata.FetcherConfig{}, says())
			change(w)
			_ = w.refuses(t, map[bool]string{true: "https://other.example/id.json", false: clientURL}[name == "another name"])
			if len(w.seen) != 0 {
				t.Errorf("%d requests", len(w.seen))
			}
		})
	}
}

// plain is a server that speaks HTTP where TLS is expected.
func plain(context.Context, netip.AddrPort) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}")
	}()
	return ours, nil
}

// TestErrorsAreNoPortScanOracle: whatever went wrong, there is one error to act on,
// and none that would be shown to a client.
func TestErrorsAreNoPortScanOracle(t *testing.T) {
	ok := newWorld(t, metadata.FetcherConfig{}, says())
	closed := newWorld(t, metadata.FetcherConfig{}, says())
	closed.server.Close()
	insider := newWorld(t, metadata.FetcherConfig{}, says())
	insider.dns["client.example."] = [][]string{{"10.0.0.1"}}
	empty := newWorld(t, metadata.FetcherConfig{}, says())
	empty.dns["client.example."] = [][]string{{}}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, late := ok.fetcher.Get(ended, clientURL, 0)
	for name, err := range map[string]error{
		"bad URL": ok.refuses(t, "https://127.0.0.1/"), "unknown host": ok.refuses(t, "https://nowhere.example/"), "no address": empty.refuses(t, clientURL),
		"closed port": closed.refuses(t, clientURL), "inside": insider.refuses(t, clientURL), "404": newWorld(t, metadata.FetcherConfig{}, http.NotFound).refuses(t, clientURL),
		"caller gone": late,
	} {
		var shown *oauth.Error
		var network net.Error
		if !errors.Is(err, metadata.ErrFetch) || errors.Unwrap(err) != metadata.ErrFetch || errors.As(err, &shown) || errors.As(err, &network) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %#v", name, err)
		}
		if got := web.Wire(err); got.Code != oauth.ServerError || got.Description != "" {
			t.Errorf("%s: a client would read %v", name, got)
		}
		if len(err.Error()) <= len(metadata.ErrFetch.Error())+2 {
			t.Errorf("%s: the log would say only %q", name, err)
		}
	}
}

// TestFailureIsNotRemembered: the next fetch asks again.
func TestFailureIsNotRemembered(t *testing.T) {
	answers := []http.HandlerFunc{http.NotFound, says()}
	w := newWorld(t, metadata.FetcherConfig{}, func(w http.ResponseWriter, r *http.Request) {
		answers[0](w, r)
		answers = answers[1:]
	})
	_ = w.refuses(t, clientURL)
	if _, err := w.get(t, clientURL); err != nil {
		t.Error(err)
	}
}
