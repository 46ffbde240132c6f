package metadata_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/metadata"
)

// A27: TestFetchRefusesURL has the attacks that are in the URL itself: nothing is
// resolved and nothing connected to.
func TestFetchRefusesURL(t *testing.T) {
	for name, urls := range map[string][]string{
		"plain http":                        {"http://client.example/id.json", "http://client.example:443/id.json"},
		"another scheme":                    {"ftp://client.example/x", "file:///etc/passwd", "gopher://client.example/x", "javascript:alert(1)", "data:application/json,{}", "unix:///run/x.sock"},
		"an upper-case scheme":              {"HTTPS://client.example/id.json", "Https://client.example/id.json"},
		"no scheme":                         {"//client.example/id.json", "/id.json", "client.example/id.json", ""},
		"an authority that browsers mend":   {"https:client.example/id.json", "https:/client.example/id.json", "https:///client.example/id.json", "https:////client.example/x", `https:\\client.example\id.json`},
		"no path":                           {"https://client.example", "https://client.example?x=y"},
		"user information":                  {"https://user@client.example/id.json", "https://user:pass@client.example/id.json", "https://client.example@127.0.0.1/id.json"},
		"empty user information":            {"https://@client.example/id.json", "https://:@client.example/id.json"},
		"a fragment":                        {"https://client.example/id.json#x", "https://client.example/id.json#", "https://client.example/id.json?#"},
		"a dot segment":                     {"https://client.example/./id.json", "https://client.example/../id.json", "https://client.example/a/../id.json", "https://client.example/a/.", "https://client.example/a/.."},
		"a percent-encoded dot segment":     {"https://client.example/%2e/id.json", "https://client.example/%2E%2e/id.json", "https://client.example/.%2e/id.json", "https://client.example/%2e./x", "https://client.example/a/%2e"},
		"a dot segment of encoded slashes":  {"https://client.example/a%2f..%2fid.json", "https://client.example/a%5c..%5cid.json", "https://client.example/a/..%2f"},
		"a backslash":                       {`https://client.example\@127.0.0.1/x`, `https://client.example/a\..\b`, `https://client.example/x?a\b`, `https:\\client.example/x`},
		"white space":                       {" https://client.example/id.json", "https://client.example/id.json ", "https://client.example/a b", "https://client.example/\tx", "https://cli\tent.example/x"},
		"a line break":                      {"https://client.example/x\r\nHost: evil.example", "https://client.example/x\n", "https://client\n.example/x"},
		"a NUL":                             {"https://client.example/\x00", "https://client.example\x00.evil.example/x"},
		"characters that are to be escaped": {"https://client.example/<x>", `https://client.example/"x"`, "https://client.example/{x}", "https://client.example/|"},
		"a bad escape":                      {"https://client.example/%zz", "https://client.example/%", "https://client.example/%4"},
		"a raw Unicode path":                {"https://client.example/é"},
		"an upper-case host":                {"https://CLIENT.example/id.json", "https://client.Example/id.json"},
		"a host that ends in a dot":         {"https://client.example./id.json", "https://client.example..//id.json"},
		"a host of one label":               {"https://client/id.json", "https://localhost/id.json", "https://kubernetes/id.json"},
		"a percent-encoded host":            {"https://client%2eexample/id.json", "https://%31%32%37.0.0.1/id.json", "https://client.example%00.evil.example/x"},
		"a Unicode look-alike":              {"https://cli\u0435nt.example/id.json", "https://client\u3002example/id.json", "https://\uff43lient.example/x", "https://\u2488\u2488\u2488\u2488/x", "https://cl\u00adient.example/x"},
		"punycode that stands for nothing":  {"https://xn--client-.example/id.json", "https://xn--a.example/x", "https://xn--.example/x", "https://client.xn--example/x", "https://xn--zzzzzzzzz999.example/x"},
		"a label that is none":              {"https://-client.example/x", "https://client-.example/x", "https://cli_ent.example/x", "https://client..example/x", "https://.client.example/x", "https://" + strings.Repeat("a", 64) + ".example/x", "https://*.example/x"},
		"a long host":                       {"https://" + strings.Repeat("aaaaaaaaa.", 26) + "example/x"},
		"a long URL":                        {"https://client.example/" + strings.Repeat("a", 2048)},
		"an odd port":                       {"https://client.example:/x", "https://client.example:0/x", "https://client.example:0443/x", "https://client.example:65536/x", "https://client.example:-1/x", "https://client.example:+443/x", "https://client.example:x/x", "https://client.example:44 3/x"},
		"an IPv4 address":                   {"https://127.0.0.1/x", "https://10.0.0.1/x", "https://169.254.169.254/latest/meta-data/", "https://93.184.215.14/x"},
		"an IPv6 address":                   {"https://[::1]/x", "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/x", "https://[::ffff:127.0.0.1]/x", "https://[::]/x", "https://::1/x"},
		"an IPv6 zone":                      {"https://[fe80::1%25eth0]/x", "https://[::1%25lo]/x"},
		"a decimal address":                 {"https://2130706433/x", "https://127.1/x", "https://0/x", "https://127.0.1/x"},
		"a hexadecimal address":             {"https://0x7f.1/x", "https://0x7f000001/x", "https://0x7f.0x0.0x0.0x1/x", "https://0x7f.0.0.0x1/x"},
		"an octal address":                  {"https://0177.0.0.1/x", "https://017700000001/x", "https://0177.0.0.01/x"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, u := range urls {
				w := newWorld(t, metadata.FetcherConfig{}, says())
				_ = w.refuses(t, u)
				w.untouched(t)
			}
		})
	}
}

// TestFetchTakesURL as it is: the request line is the URL's own letters.
func TestFetchTakesURL(t *testing.T) {
	for url, want := range map[string]struct{ asked, dialed, host, line string }{
		"https://client.example/":                    {"client.example.", clientIP + ":443", "client.example", "/"},
		"https://client.example/id.json":             {"client.example.", clientIP + ":443", "client.example", "/id.json"},
		"https://client.example:443/id.json":         {"client.example.", clientIP + ":443", "client.example:443", "/id.json"},
		"https://client.example:8443/id.json":        {"client.example.", clientIP + ":8443", "client.example:8443", "/id.json"},
		"https://client.example/a//b/":               {"client.example.", clientIP + ":443", "client.example", "/a//b/"},
		"https://client.example/id?tenant=%2e%2e&x":  {"client.example.", clientIP + ":443", "client.example", "/id?tenant=%2e%2e&x"},
		"https://client.example/%252e/a%2Fb/..x/%7e": {"client.example.", clientIP + ":443", "client.example", "/%252e/a%2Fb/..x/%7e"},
	} {
		t.Run(url, func(t *testing.T) {
			w := newWorld(t, metadata.FetcherConfig{}, says())
			got, err := w.get(t, url)
			if err != nil || string(got.Body) != document {
				t.Fatalf("Get = %q, %v", got.Body, err)
			}
			if r := w.seen[0]; w.asked[0] != want.asked || w.dialed[0] != want.dialed || r.Host != want.host || r.RequestURI != want.line {
				t.Errorf("asked %v, dialed %v, Host %q, line %q", w.asked, w.dialed, r.Host, r.RequestURI)
			}
		})
	}
}

// TestPunycodeIsNeverDecoded: the host that is fetched is the one that was written.
func TestPunycodeIsNeverDecoded(t *testing.T) {
	w := newWorld(t, metadata.FetcherConfig{}, says())
	_ = w.refuses(t, "https://xn--bcher-kva.example/id.json") // the DNS of the test does not know it
	if len(w.asked) != 1 || w.asked[0] != "xn--bcher-kva.example." {
		t.Errorf("asked %v", w.asked)
	}
}

func FuzzFetchURL(f *testing.F) {
	for _, s := range []string{clientURL, "https://client.example:8443/a?b", "https://2130706433/x", "https://[::1]/x", "https://a.xn--bcher-kva/%2e", "https:\\\\a.b/", "http://127.0.0.1:1/x", "http://[::1]:80/"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, loopback bool) {
		u, err := metadata.ParseURL(s, loopback)
		if err != nil {
			return
		}
		again, err := url.Parse(s)
		if err != nil || again.String() != s || u.String() != s {
			t.Errorf("%q is read as %q and %q, %v", s, u, again, err)
		}
		if u.User != nil || u.Fragment != "" || u.Opaque != "" || u.Host != strings.ToLower(u.Host) || strings.ContainsAny(s, "\\#@ \r\n") && !strings.Contains(u.Path+u.RawQuery, "@") {
			t.Errorf("%q was accepted", s)
		}
		a, err := netip.ParseAddr(u.Hostname())
		if local := err == nil && a.IsLoopback() && loopback; err == nil && !local || u.Scheme != "https" && !loopback {
			t.Errorf("%q was accepted", s)
		}
	})
}
