package authz_test

import (
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestRedirectURIThatBrowsersReadDifferently has what Go and a browser do not read
// alike, or what another spelling of the same host is.
func TestRedirectURIThatBrowsersReadDifferently(t *testing.T) {
	w := newWorld(t)
	app := w.register("https://app.example/cb?a=1&b=2", nil)
	ip := w.register("http://127.0.0.1/callback", nil)
	six := w.register("http://[::1]/callback", nil)
	local := w.register("http://localhost/callback", nil)
	for _, test := range []struct {
		name string
		c    client
		uri  string
	}{
		{"parameters in another order", app, "https://app.example/cb?b=2&a=1"},
		{"a parameter escaped", app, "https://app.example/cb?%61=1&b=2"},
		{"an empty path", app, "https://app.example?a=1&b=2"},
		{"dot segments in capitals", app, "https://app.example/%2E%2E/cb?a=1&b=2"},
		{"half a dot segment", app, "https://app.example/.%2e/cb?a=1&b=2"},
		{"an escaped slash", app, "https://app.example/%2Fcb?a=1&b=2"},
		{"a backslash before another host", app, `https://evil.example\@app.example/cb?a=1&b=2`},
		{"a backslash after the right host", app, `https://app.example\.evil.example/cb?a=1&b=2`},
		{"backslashes for the slashes", app, `https:\\app.example/cb?a=1&b=2`},
		{"one slash", app, "https:/app.example/cb?a=1&b=2"},
		{"three slashes", app, "https:///app.example/cb?a=1&b=2"},
		{"no slashes", app, "https:app.example/cb?a=1&b=2"},
		{"a tab in the scheme", app, "ht\ttps://app.example/cb?a=1&b=2"},
		{"a tab in the path", app, "https://app.example/c\tb?a=1&b=2"},
		{"CR in the path", app, "https://app.example/c\rb?a=1&b=2"},
		{"LF in the host", app, "https://app.\nexample/cb?a=1&b=2"},
		{"CRLF and a header", app, "https://app.example/cb?a=1&b=2\r\nSet-Cookie: x=1"},
		{"NUL after it", app, "https://app.example/cb?a=1&b=2\x00"},
		{"NUL and another host", app, "https://app.example\x00.evil.example/cb?a=1&b=2"},
		{"a byte that is no UTF-8", app, "https://app.example/cb\xff?a=1&b=2"},
		{"two at signs", app, "https://a@b@app.example/cb?a=1&b=2"},
		{"an at sign in the host", app, "https://app.example@@evil.example/cb?a=1&b=2"},
		{"an escaped at sign", app, "https://app.example%40evil.example/cb?a=1&b=2"},
		{"user and password", app, "https://app.example:443@evil.example/cb?a=1&b=2"},
		{"an escaped fragment", app, "https://app.example/cb?a=1&b=2%23"},
		{"a Cyrillic look-alike", app, "https://аpp.example/cb?a=1&b=2"},
		{"its punycode", app, "https://xn--pp-6kc.example/cb?a=1&b=2"},
		{"full-width letters", app, "https://ａｐｐ.example/cb?a=1&b=2"},
		{"an ideographic full stop", app, "https://app。example/cb?a=1&b=2"},
		{"a soft hyphen", app, "https://app.exam\u00adple/cb?a=1&b=2"},
		{"a zero-width joiner", app, "https://app.exam\u200dple/cb?a=1&b=2"},
		{"an escaped host", app, "https://%61pp.example/cb?a=1&b=2"},
		{"javascript", app, "javascript:alert(document.domain)"},
		{"JaVaScRiPt", app, "JaVaScRiPt:alert(1)"},
		{"javascript with a tab", app, "java\tscript:alert(1)"},
		{"javascript with an authority", app, "javascript://app.example/%0aalert(1)"},
		{"data", app, "data:text/html;base64,PHNjcmlwdD4="},
		{"vbscript", app, "vbscript:x"},
		{"blob", app, "blob:https://app.example/1"},
		{"file", app, "file:///cb?a=1&b=2"},
		{"a nested redirect", app, "https://app.example/cb?a=1&b=2&next=https://evil.example/"},
		{"a port of five digits on https", app, "https://app.example:65535/cb?a=1&b=2"},
		{"an empty port on https", app, "https://app.example:/cb?a=1&b=2"},
		{"hexadecimal", ip, "http://0x7f000001:9/callback"},
		{"hexadecimal bytes", ip, "http://0x7f.0.0.1:9/callback"},
		{"decimal", ip, "http://2130706433:9/callback"},
		{"octal", ip, "http://0177.0.0.1:9/callback"},
		{"127.1", ip, "http://127.1:9/callback"},
		{"a trailing dot", ip, "http://127.0.0.1.:9/callback"},
		{"mapped into IPv6", ip, "http://[::ffff:127.0.0.1]:9/callback"},
		{"0.0.0.0", ip, "http://0.0.0.0:9/callback"},
		{"full-width digits", ip, "http://１２７.0.0.1:9/callback"},
		{"127.0.0.1 as a label", ip, "http://127.0.0.1.evil.example:9/callback"},
		{"127.0.0.1 as the user", ip, "http://127.0.0.1:9@evil.example/callback"},
		{"a port that is an at sign", ip, "http://127.0.0.1:@evil.example/callback"},
		{"a backslash after the port", ip, `http://127.0.0.1:9\@evil.example/callback`},
		{"a negative port", ip, "http://127.0.0.1:-1/callback"},
		{"a signed port", ip, "http://127.0.0.1:+1/callback"},
		{"two ports", ip, "http://127.0.0.1:9:9/callback"},
		{"a port in other digits", ip, "http://127.0.0.1:٣/callback"},
		{"a zone", six, "http://[::1%25eth0]:9/callback"},
		{"an unescaped zone", six, "http://[::1%eth0]:9/callback"},
		{"the long form", six, "http://[0:0:0:0:0:0:0:1]:9/callback"},
		{"leading zeros", six, "http://[::01]:9/callback"},
		{"any address", six, "http://[::]:9/callback"},
		{"no brackets", six, "http://::1:9/callback"},
		{"localhost as a label", local, "http://localhost.evil:9/callback"},
		{"a label of localhost", local, "http://evil.localhost:9/callback"},
		{"localhost with a dot", local, "http://localhost.:9/callback"},
		{"localhost escaped", local, "http://%6cocalhost:9/callback"},
		{"localhost with a dotted capital", local, "http://localhoſt:9/callback"},
		{"localhost and dot segments", local, "http://localhost:9/x/../callback"},
		{"localhost and a trailing slash", local, "http://localhost:9/callback/"},
		{"localhost and two slashes", local, "http://localhost:9//callback"},
		{"localhost and a semicolon", local, "http://localhost:9/callback;x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := w.in(t)
			b := w.browser()
			for _, ch := range []change{{}, {"prompt": {"none"}}, {"scope": {`"`}}, {"response_type": {"token"}}} { // an error goes there as little as a code
				p := b.get(w.authorizePath(test.c, change{"redirect_uri": {test.uri}}, ch))
				wantErrorPage(t, p, "redirect_uri")
				if strings.Contains(p.body, "evil") || strings.Contains(p.body, "alert(") {
					t.Errorf("the page echoes it: %s", p.text())
				}
			}
		})
	}
}

// location is how a browser reads a URL, after the WHATWG URL standard: as much of
// it as tells where the browser goes.
type location struct{ scheme, host, port, rest string }

func browserReads(raw string) location {
	raw = strings.Trim(raw, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f ")
	raw = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(raw)
	scheme, rest, ok := strings.Cut(raw, ":")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" {
		return location{scheme: scheme, rest: rest}
	}
	end := strings.IndexAny(rest, "?#")
	if end < 0 {
		end = len(rest)
	}
	rest = strings.TrimLeft(strings.ReplaceAll(rest[:end], `\`, "/"), "/") + rest[end:]
	end = strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	authority = authority[strings.LastIndex(authority, "@")+1:]
	host, port := authority, ""
	if i := strings.LastIndex(authority, ":"); i > strings.LastIndex(authority, "]") {
		host, port = authority[:i], authority[i+1:]
	}
	if u, err := url.PathUnescape(host); err == nil {
		host = u
	}
	return location{scheme, canonicalHost(strings.ToLower(host)), port, rest}
}

// canonicalHost writes an address as browsers do, however it is spelled.
func canonicalHost(host string) string {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return a.String()
	}
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	var sum uint64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 0, 32)
		if err != nil || len(parts) > 4 {
			return host
		}
		if i == len(parts)-1 {
			sum = sum<<(8*(5-len(parts))) | n
		} else {
			sum = sum<<8 | n
		}
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}).String()
}

// TestEveryMutationOfARedirectURI: wherever the browser is sent, it is to the letter
// where it was registered, but for the port on a loopback address; and a browser
// reads it as we do.
func TestEveryMutationOfARedirectURI(t *testing.T) {
	w := newWorld(t)
	inserts := []string{"a", "A", "0", "1", ".", "..", "/", `\`, "@", ":", "?", "#", "%", "%2f", "%2e", "%00", "\t", "\r", "\n", "\x00", " ", "&", ";", "[", "]", "\u00e9", "\u3002", "\xff", "evil.example"}
	for _, registered := range []string{"https://app.example/cb?v=1", "http://127.0.0.1:8000/cb", "http://[::1]/cb", "http://localhost/cb", cursorScheme} {
		t.Run(registered, func(t *testing.T) {
			w := w.in(t)
			c := w.register(registered, nil)
			if q := w.browser().get(w.authorizePath(c, change{"prompt": {"none"}})); q.to == nil && !strings.Contains(q.body, "error=login_required") {
				t.Fatalf("the registered one is not taken either: %s", q.text())
			}
			for _, uri := range mutations(registered, inserts) {
				r := httptest.NewRequest("GET", w.url+w.authorizePath(c, change{"redirect_uri": {uri}, "prompt": {"none"}}), nil)
				rec := httptest.NewRecorder()
				w.handler.ServeHTTP(rec, r)
				where := rec.Header().Get("Location")
				if back := strings.Contains(rec.Body.String(), "login_required"); where == "" && !back {
					continue
				}
				want, ours, theirs := browserReads(registered), browserReads(uri), browserReads(where)
				want.port, ours.port, theirs.port = "", "", ""
				theirs.rest, _, _ = strings.Cut(theirs.rest, "?")
				if !strings.HasPrefix(registered, "http://") || ours != want || theirs != want || strings.Trim(browserReads(uri).port, "0123456789") != "" {
					t.Errorf("%q is taken for it: redirect to %q", uri, where)
				}
			}
		})
	}
}

// mutations of s: each character left out, doubled, escaped, in the other case and
// in full width, and everything inserted everywhere.
func mutations(s string, inserts []string) (out []string) {
	for i := range len(s) + 1 {
		for _, x := range inserts {
			out = append(out, s[:i]+x+s[i:])
		}
		if i == len(s) {
			break
		}
		escaped := "%" + strings.ToUpper(strconv.FormatUint(uint64(s[i])|0x100, 16)[1:])
		for _, x := range []string{"", s[i:i+1] + s[i:i+1], escaped, string(rune(s[i] ^ 0x20)), string(rune(s[i]) + 0xfee0)} {
			out = append(out, s[:i]+x+s[i+1:])
		}
	}
	return slices.DeleteFunc(out, func(m string) bool { return m == s })
}
