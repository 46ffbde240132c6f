package policies_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// constrains is a policy with one tool that has conditions on the argument x.
func constrains(t testing.TB, conditions string) *policies.PDP {
	t.Helper()
	return newPDP(t, "version: 1\nroles:\n  r:\n    who: {users: [alice]}\n    servers:\n      s:\n        tools:\n          t: {arguments: {x: "+conditions+"}}\n")
}

// accepts reports whether the tool may be called with these arguments. What may not be is
// denied for the argument.
func accepts(t *testing.T, p *policies.PDP, arguments string) bool {
	t.Helper()
	q := call(t, "alice", "editor", "s", "t")
	q.Arguments = jsontext.Value(arguments)
	d := p.Decide(t.Context(), q)
	if !d.Allowed() && (d.Reason != policies.ReasonArgument || d.Detail == "") {
		t.Errorf("%s: %+v, want the reason argument with what must be", arguments, d)
	}
	return d.Allowed()
}

func text(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return `{"x":` + string(b) + `}`
}

// Each goes, for some parser, elsewhere than to a host of the policy.
func TestAddressThatGoesElsewhereIsNotTaken(t *testing.T) {
	p := constrains(t, `{domains: [example.com, "*.example.org", "192.0.2.1"]}`)
	for _, s := range []string{
		"example.com", "EXAMPLE.com", "a.example.org", "b.a.example.org", "192.0.2.1", "bob@example.com", "b.o+b@a.example.org", "https://example.com", "HTTPS://Example.COM:443/x?y=a@b#c",
		"http://192.0.2.1:8080/", "wss://a.example.org/x", "https://example.com/@evil.test", "xn--a.example.org",
	} {
		if !accepts(t, p, text(t, s)) {
			t.Errorf("%q is not taken", s)
		}
	}
	for _, s := range []string{
		"", " ", ".", "evil.test", "example.org", "example.com.evil.test", "evilexample.com", "-.example.org", "..example.org", ".example.org", "a..example.org", "*.example.org", "a_b.example.org",
		"example.com.", "a.example.org.", "https://example.com./", "example.com:443", "example.com/x", "//example.com/", "///example.com", "https:example.com", "https:/example.com", `https:\\example.com`, "https:///example.com", "https:////example.com/",
		"https://bob@example.com/", "https://example.com@evil.test/", "https://example.com:x@evil.test", "https://evil.test/example.com", "https://evil.test?example.com", "https://evil.test#@example.com/", "https://example.com#@evil.test/", "https://example.com?@evil.test/", `https://example.com\@evil.test/`, `https://evil.test\.example.org/`,
		"https://example.com%2eevil.test/", "https://example.com%00.evil.test/", "https://example.com%2f@evil.test/", "https://example%2ecom/", "https://example.com:443:80/", "https://example.com:99999999/", "https://example.com:/", "https://example.com:port/", "https://[::1]/", "https://[example.com]/",
		"https://example.com\x00.evil.test/", "https://example.com\n.evil.test", "example.com\n", " example.com", "example.com ", "example.com\t", "https://exa\tmple.com/", "https://example.com\r\nHost: evil.test", "https://example.com /", "\ufeffexample.com", "exam\u00adple.com",
		"ex\u0430mple.com", "https://ex\u0430mple.com/", "\uff45xample.com", "example\u3002com", "https://example\uff0ecom/", "https://evil.test\u2215.example.org/", "https://evil.test\uff0fa.example.org/", "\u212aa.example.org",
		"file://example.com/etc/passwd", "javascript://example.com/%0aalert(1)", "data://example.com/", "gopher://example.com/_x", "jar:https://example.com/", "view-source:https://example.com", "mailto:bob@example.com", "unknown://example.com/", "htt ps://example.com", "://example.com", "https://http://example.com",
		"bob@evil.test", "bob@example.com@evil.test", "bob@evil.test@example.com", "bob%evil.test@example.com", "evil.test!bob@example.com", "bob@example.com,eve@evil.test", "bob@example.com;eve@evil.test", "bob@example.com eve@evil.test", "Bob <bob@example.com>", "<bob@example.com>", `"bob@evil.test"@example.com`, `"bob"@example.com`, "bob(@evil.test)@example.com", "@example.com", "@evil.test:bob@example.com", "bob@", ".bob@example.com", "b..ob@example.com", "bob@[192.0.2.1]", "b\u00f6b@example.com", strings.Repeat("b", 65) + "@example.com",
		"192.0.2.01", "192.0.2.1.", "0xc0.0.2.1", "0xc0000201", "3221225985", "192.0.513", "192.0.2.1.example.0x1", "https://3221225985/", "1.example.org.1", strings.Repeat("a.", 200) + "example.org", strings.Repeat("a", 64) + ".example.org",
	} {
		if accepts(t, p, text(t, s)) {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestPathThatClimbsIsNotTaken(t *testing.T) {
	p := constrains(t, `{paths: ["/srv/data/*", /srv/x.txt]}`)
	for _, s := range []string{"/srv/data/a", "/srv/data/a/b.txt", "/srv/x.txt", "/srv/data/a b", "/srv/data/.hidden", "/srv/data/한글.md", "/srv/data/a/"} {
		if !accepts(t, p, text(t, s)) {
			t.Errorf("%q is not taken", s)
		}
	}
	for _, s := range []string{
		"", "/", "//", "srv/data/a", "./srv/data/a", "~/a", "/srv", "/srv/data", "/srv/data/", "/srv/database/a", "/srv/datA/a", "/SRV/data/a", "/srv/x.txt/", "/srv/x.txt/a", "/srv/x.txt\x00.png", "/srv/x.txt ", "/srv/y.txt", "/srv/*", "/*",
		"/srv/data/..", "/srv/data/../y", "/srv/data/a/../../y", "/srv/data/.", "/srv/data/./a", "/srv/./data/a", "/srv/data//a", "//srv/data/a", "/srv//data/a", "/srv/data/a//", "/srv/data/ ..", "/srv/data/.. /y", "/srv/data/. ./y", "/srv/data/a.", "/srv/data/a /b", "/srv/data/...", "/srv/data/..;/y", "/srv/data/..\\y", "/srv/data\\..\\y", `\srv\data\a`, `C:\srv\data\a`,
		"/srv/data/%2e%2e/y", "/srv/data/%2E./y", "/srv/data/.%2e/y", "/srv/data%2f..%2fy", "/srv/data/%252e%252e/y", "/srv/data/%c0%ae%c0%ae/y", "/srv/data/%", "/srv/data/%zz", "/srv/data/%00", "/srv/data/a\x00", "/srv/data/a\n", "/srv/data/a\u200b", "/srv/data/\u2025/y", "/srv/data/\uff0e\uff0e/y", "/srv/data\u2215a", "/srv/data/\uff0fa",
		"file:///srv/data/a", "/srv/data/" + strings.Repeat("a", 5000),
	} {
		if accepts(t, p, text(t, s)) {
			t.Errorf("%q is taken", s)
		}
	}
}

// A server whose JSON library takes names in any case, as Go's does, sees the second one.
func TestArgumentInAnotherCaseIsNotPastTheCondition(t *testing.T) {
	for _, condition := range []string{`{max: 100}`, `{max: 100, optional: true}`} {
		p := constrains(t, condition)
		for arguments, want := range map[string]bool{
			`{"x":100}`: true, `{"x":100,"y":1000}`: true, `{"x":100,"X":1000}`: false, `{"X":1000}`: false, `{"X":1000,"x":100}`: false, `{"X":1}`: false,
		} {
			if accepts(t, p, arguments) != want {
				t.Errorf("%s, %s: taken %v, want %v", condition, arguments, !want, want)
			}
		}
	}
	p := newPDP(t, "version: 1\nroles: {r: {who: {users: [alice]}, servers: {s: {tools: {t: {arguments: {skip: {enum: [a], optional: true}}}}}}}}\n")
	for arguments, want := range map[string]bool{`{"ſkip":"b"}`: false, `{"s\u212aip":"b"}`: false, `{"skip":"a"}`: true, `{"skips":"b"}`: true} {
		if accepts(t, p, arguments) != want {
			t.Errorf("%s: taken %v, want %v", arguments, !want, want)
		}
	}
}

func TestValueOfAnotherTypeIsNotPastTheCondition(t *testing.T) {
	for condition, tests := range map[string]map[string]bool{
		`{max: 100}`: {
			`100`: true, `-1e3`: true, `1e2`: true, `100.0`: true, `101`: false, `1e3`: false, `"1"`: false, `""`: false, `true`: false, `false`: false, `null`: false, `{}`: false, `{"a":1}`: false, `[]`: false, `[1,2]`: true, `[1,101]`: false, `[[1]]`: false, `[null]`: false,
			`100.00000000000000000001`: false, `1e400`: false, `-1e400`: false, `1e99999999999999999999`: false, `-1e99999999999999999999`: false, `9223372036854775807`: false, `18446744073709551617`: false,
		},
		`{min: 1}`:                   {`1`: true, `0.5`: false, `"2"`: false, `[2]`: true, `{}`: false, `null`: false, `0.99999999999999999999`: false},
		`{min: -1, max: 0}`:          {`0`: true, `-0`: true, `1`: false, `-2`: false},
		`{max: 100, optional: true}`: {`100`: true, `null`: false, `101`: false, `[]`: false},
		`{enum: [1, a, true]}`:       {`1`: true, `1.0`: true, `"a"`: true, `true`: true, `"1"`: false, `"A"`: false, `"true"`: false, `null`: false, `["a",1]`: true, `["a","b"]`: false, `{"a":1}`: false},
		`{pattern: "[a-z]+|b1"}`:     {`"abc"`: true, `"b1"`: true, `"abc1"`: false, `"b11"`: false, `"abc\n"`: false, `"1\nabc"`: false, `""`: false, `1`: false, `["a","b"]`: true, `["a","1"]`: false},
		`{pattern: "(?m)^a$"}`:       {`"a"`: true, `"b\na"`: false, `"a\nb"`: false},
		`{max_length: 3}`:            {`"abc"`: true, `"äöü"`: true, `"abcd"`: false, `123`: false, `["abc","abcd"]`: false, `{}`: false},
		`{max: 5, enum: [3, 9]}`:     {`3`: true, `9`: false, `4`: false},
	} {
		p := constrains(t, condition)
		for value, want := range tests {
			if got := accepts(t, p, `{"x":`+value+`}`); got != want {
				t.Errorf("%s: %s taken %v, want %v", condition, value, got, want)
			}
		}
		if got, want := accepts(t, p, `{}`), strings.Contains(condition, "optional"); got != want {
			t.Errorf("%s: without the argument taken %v, want %v", condition, got, want)
		}
	}
}

// Only own records: a claim that is not there equals nothing, and a claim of the client is
// none of the person's.
func TestArgumentOfAnotherPersonIsNotTaken(t *testing.T) {
	p := newPDP(t, "version: 1\nroles: {r: {who: {users: [alice], clients: [agent]}, servers: {s: {tools: {t: {arguments: {owner: {claim: email}, me: {claim: sub, optional: true}}}}}}}}\n")
	for _, tt := range []struct {
		claims, arguments string
		want              bool
	}{
		{`{"email":"a@x.test"}`, `{"owner":"a@x.test"}`, true},
		{`{"email":["b@x.test","a@x.test"]}`, `{"owner":["a@x.test","b@x.test"]}`, true},
		{`{"email":"a@x.test"}`, `{"owner":"b@x.test"}`, false},
		{`{"email":"a@x.test"}`, `{"owner":"A@x.test"}`, false},
		{`{"email":"a@x.test"}`, `{"owner":["a@x.test","b@x.test"]}`, false},
		{`{"email":"a@x.test"}`, `{"owner":{"email":"a@x.test"}}`, false},
		{`{"email":"a@x.test"}`, `{}`, false},
		{`{"email":7}`, `{"owner":"7"}`, false},
		{`{}`, `{"owner":null}`, false},
		{``, `{"owner":""}`, false},
		{`{"email":"a@x.test","sub":"bob"}`, `{"owner":"a@x.test","me":"bob"}`, false},
		{`{"email":"a@x.test","sub":"bob"}`, `{"owner":"a@x.test","me":"alice"}`, true},
	} {
		q := call(t, "alice", "editor", "s", "t")
		q.Claims, q.Arguments = jsontext.Value(tt.claims), jsontext.Value(tt.arguments)
		if d := p.Decide(t.Context(), q); d.Allowed() != tt.want {
			t.Errorf("%s with %s: %+v, want %v", tt.arguments, tt.claims, d, tt.want)
		}
	}
}

// A claim is told by name and value: none can be made to look like another.
func TestClaimThatLooksLikeAnotherGivesNoRole(t *testing.T) {
	p := newPDP(t, "version: 1\nroles: {r: {who: {claims: {department: [finance, 7, true], 'a=\"b\"': [c]}}, servers: {s: {tools: [t]}}}}\n")
	for claims, want := range map[string]bool{
		`{"department":"finance"}`: true, `{"department":["x","finance"]}`: true, `{"department":7}`: true, `{"department":7.0}`: true, `{"department":70e-1}`: true, `{"department":true}`: true, `{"a=\"b\"":"c"}`: true,
		`{"department":"Finance"}`: false, `{"department":"7"}`: false, `{"department":["7"]}`: false, `{"department":"true"}`: false, `{"department":70}`: false, `{"Department":"finance"}`: false, `{"department":"\"finance\""}`: false,
		`{"a":"b\"=\"c"}`: false, `{"department=\"finance\"":""}`: false, `{"department=":"finance"}`: false, `{"other":"finance"}`: false, `{"department":[]}`: false, `{}`: false,
	} {
		q := call(t, "alice", "editor", "s", "t")
		q.Claims = jsontext.Value(claims)
		if d := p.Decide(t.Context(), q); d.Allowed() != want {
			t.Errorf("%s: %+v, want %v", claims, d, want)
		}
		q.Workload = true
		if d := p.Decide(t.Context(), q); d.Allowed() {
			t.Errorf("%s of a workload: %+v", claims, d)
		}
	}
}
