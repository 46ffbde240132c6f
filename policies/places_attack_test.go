package policies_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/policies"
)

// TestTextThatGoesToAnotherHost: what two parsers understand differently goes to no host.
func TestTextThatGoesToAnotherHost(t *testing.T) {
	p := newPDP(t, toAlice(`{t: {arguments: {a: {domains: ["*.example.com", example.com, 127.0.0.1]}}}}`))
	ask := func(s string, want policies.Reason) {
		t.Helper()
		b, err := json.Marshal(map[string]string{"a": s})
		if err != nil {
			t.Fatal(err)
		}
		argued(t, p, string(b), want)
	}
	local := strings.Repeat("a", 64)
	for _, s := range []string{
		"example.com", "a.example.com", "127.0.0.1", "http://127.0.0.1/", "https://example.com:8443/x@y", "WSS://Example.COM", "git://example.com/x", local + "@example.com", "https://example.com/?u=a@b.example", "https://example.com?x=1",
		"https://example.com/http://evil.example",
	} {
		ask(s, policies.ReasonAllowed)
	}
	for _, s := range []string{
		"https://example.com@evil.example", `https://evil.example\@example.com`, `https://example.com\.evil.example`, `https://example.com\@evil.example/`, "https://u:p@example.com/", "https://example.com#@evil.example", "https://example.com?@evil.example",
		"evil.example#://example.com", "evil.example/x://example.com", "a@evil.example://example.com", "evil.example?://example.com",
		"javascript://example.com/%0aalert(1)", "file://example.com/etc/passwd", "data://example.com/x", "jar:https://example.com/x", "view-source:https://example.com", "gopher://example.com/", "data:text/html,example.com", "//example.com", "/\\example.com",
		"https:example.com", "https:/example.com", "https:///example.com", "https://example.com:x/", "https://example.com:/", "https://example.com:443:80/", "https://[example.com]/", "https://example.com%2eevil.example/", "https://exa%6dple.com/",
		"example.com.", "example.com:25", "https://example.com./", ".example.com", "-a.example.com", "a-.example.com", "a..example.com", "a_b.example.com", "*.example.com",
		"ex\u0430mple.com", "example\uff0ecom", "example\u3002com", "\uff45xample.com", "examp\u212ae.com", "exam\u00adple.com", "example.com\u200b", "example.com\u0000.evil.example",
		" example.com", "example.com ", "example.com\n", "example.com\tevil.example", "ex\nample.com", "https://exam\tple.com",
		"a@b@example.com", "a@example.com@evil.example", "a@evil.example,b@example.com", "a@evil.example;b@example.com", `"a@evil.example"@example.com`, "<a@example.com>", "A <a@example.com>", "a@evil.example a@example.com", "a%evil.example@example.com", "evil.example!a@example.com",
		"@evil.example:a@example.com", "a@example.com(evil.example)", "a@[127.0.0.1]", "mailto:a@example.com", ".a@example.com", "a.@example.com", "a..b@example.com", local + "a@example.com",
		"127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.01", "127.0.0.1.", "127.0.0.256", "[::1]", "::ffff:127.0.0.1", "example.com.127.0.0.1", "a.127.0.0.1", "http://2130706433/", "http://0x7f.0.0.1/",
		strings.Repeat("a.", 122) + "example.com", strings.Repeat("a", 64) + ".example.com", "https://example.com/" + strings.Repeat("a", 4096), "",
	} {
		ask(s, policies.ReasonArgument)
	}
}

// TestDomainThatNothingCouldBeBelow: a policy names hosts in their one spelling.
func TestDomainThatNothingCouldBeBelow(t *testing.T) {
	for _, domain := range []string{"*", "*.", "*.*.com", "a.*.com", "Example.com", "example.com.", "*.127.0.0.1", "*.1", "127.1", "0x7f.1", "b\u00fccher.example", "example.com:443", "https://example.com", "a@example.com", "[::1]", "exam ple.com"} {
		if _, err := policies.New(t.Context(), policies.Config{Access: []byte(toAlice(`{t: {arguments: {a: {domains: ["` + domain + `"]}}}}`))}); err == nil {
			t.Errorf("domain %q is taken", domain)
		}
	}
}

// TestPathThatLeadsElsewhere: what some server resolves to another place is in no folder.
func TestPathThatLeadsElsewhere(t *testing.T) {
	p := newPDP(t, toAlice(`{t: {arguments: {a: {paths: ["/srv/data/*", "/srv/x.txt"]}}}}`))
	ask := func(s string, want policies.Reason) {
		t.Helper()
		b, err := json.Marshal(map[string]string{"a": s})
		if err != nil {
			t.Fatal(err)
		}
		argued(t, p, string(b), want)
	}
	for _, s := range []string{"/srv/data/a", "/srv/data/a/", "/srv/data/a b/c.txt", "/srv/data/.hidden", "/srv/data/~root", "/srv/data/*", "/srv/x.txt", "/srv/data/C:/x"} {
		ask(s, policies.ReasonAllowed)
	}
	for _, s := range []string{
		"/srv/data", "/srv/data/", "/srv/data/.", "/srv/data/..", "/srv/data/../x", "/srv/data/./a", "/srv/data/a/../../x", "/srv/data/..;/x", "/srv/data/a;/../../x", "/srv/data//a", "//srv/data/a", "///srv/data/a", "/", "//", "",
		"/srv/data/. /a", "/srv/data/.. /a", "/srv/data/... /a", "/srv/data/a./b", "/srv/data/a /b", "/srv/data/a.", "/srv/data/a ", "/srv/data/a. .", "/srv/data/ ", "/srv/data/ /a",
		`/srv/data/..\..\x`, `/srv/data\a`, `\srv\data\a`, `C:\srv\data\a`, "C:/srv/data/a", "~/a", "~root/srv/data/a", "srv/data/a", "./srv/data/a", "file:///srv/data/a", "file:/srv/data/a", `\\?\C:\srv\data\a`,
		"/srv/data/%2e%2e/x", "/srv/data/%2E%2E/x", "/srv/data/%252e%252e/x", "/srv/data/..%2fx", "/srv/data/%5c..%5cx", "/srv/data/%c0%ae%c0%ae/x", "/srv/data/%ff", "/srv/data/%", "/srv/data/%u002e%u002e/x", "/srv/data/a%00.txt",
		"/srv/data/\u2024\u2024/x", "/srv/data/\uff0e\uff0e/x", "/srv/data/\u2025/x", "/srv/data/..\uff0fx", "/srv/data/a\uff3cb", "/srv/data/a\u0000", "/srv/data/a\n", "/srv/data/a\u200b", "/srv/data/.\u200d./x", "/srv/data/\u00ad", "/srv/data/\u202e/x",
		"/SRV/data/a", "/srv/Data/a", "/srv/x.txt/", "/srv/x.txt/a", "/srv/x.txt ", "/srv/x.TXT", "/srv/x.txt::$DATA", "/srv/x.txt;v", "/srv/database", " /srv/data/a", "/srv/data/" + strings.Repeat("a", 4096),
	} {
		if s == "/srv/x.txt/" { // is that file, or none
			continue
		}
		ask(s, policies.ReasonArgument)
	}
}

// TestPathOfAPolicyThatNothingIsBelow: a policy names paths in their one spelling.
func TestPathOfAPolicyThatNothingIsBelow(t *testing.T) {
	for _, path := range []string{"srv/*", "/srv/data/", "/srv/../x", "/srv//x", "/srv*", "/srv/*/x", "/srv/*.txt", "~/x", "*", "C:/x", `/srv\\x`, "/srv/%2e/x", "/srv/./*", "/srv/a./*", "//*"} {
		if _, err := policies.New(t.Context(), policies.Config{Access: []byte(toAlice(`{t: {arguments: {a: {paths: ["` + path + `"]}}}}`))}); err == nil {
			t.Errorf("path %q is taken", path)
		}
	}
}

// TestNumberThatIsAnotherOnceItIsRead by a server that has floating-point numbers only.
func TestNumberThatIsAnotherOnceItIsRead(t *testing.T) {
	p := newPDP(t, toAlice(`{t: {arguments: {a: {min: -100, max: 100}}}}`))
	for _, n := range []string{"-0", "-0.0", "100", "1e2", "100.0", "1E+2", "0.1e3", "99.999999999999986", "1e-300"} {
		argued(t, p, `{"a":`+n+`}`, policies.ReasonAllowed)
	}
	for _, n := range []string{"100.0000000001", "100.00000000000000000001", "99.99999999999999999999", "1e400", "-1e400", "1e99999999999999999999", "-1e-99999999999999999999", "1e-400", "101", "-101", `"NaN"`, `"100"`, `"1e400"`, "99999999999999999999999999", "[5,1e400]", "[[5]]", "null", "true"} {
		argued(t, p, `{"a":`+n+`}`, policies.ReasonArgument)
	}
	for _, n := range []string{"NaN", "Infinity", "0x10", "010", "+5", "5.", ".5", "1e", "1_000"} {
		argued(t, p, `{"a":`+n+`}`, policies.ReasonInvalidRequest)
	}
}

// TestNumberThatNoComputerHas would fail, or take its time, in each decision.
func TestNumberThatNoComputerHas(t *testing.T) {
	for n, tools := range map[string][]string{
		"1e400":                    {`{t: {arguments: {a: {max: N}}}}`}, // elsewhere that is text, for YAML
		"1e-400":                   {`{t: {arguments: {a: {max: N}}}}`, `{t: {arguments: {a: {enum: [N]}}}}`, `{t: {when: {a: N}}}`, `{t: {filter: {at: "", field: a, in: [N]}}}`},
		"-1e-99999999999999999999": {`{t: {arguments: {a: {max: N}}}}`, `{t: {arguments: {a: {enum: [N]}}}}`, `{t: {when: {a: N}}}`, `{t: {filter: {at: "", field: a, in: [N]}}}`},
	} {
		for _, of := range tools {
			if _, err := policies.New(t.Context(), policies.Config{Access: []byte(toAlice(strings.Replace(of, "N", n, 1)))}); err == nil {
				t.Errorf("%s is taken in %s", n, of)
			}
		}
	}
}
