package policies_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// TestArgumentOutsideItsConstraintIsRefused has each constraint with values just inside and
// just outside of it. Each side must be asked: one that takes everything agrees with every
// value inside.
func TestArgumentOutsideItsConstraintIsRefused(t *testing.T) {
	const me = `{"email":"alice@example.com","teams":["red","blue"],"level":3}`
	for _, c := range []struct {
		constraint string
		inside     []string
		outside    []string
	}{
		{`max: 100`, []string{`100`, `100.0`, `1e2`, `-5`, `[1,100]`}, []string{`101`, `100.0001`, `"1"`, `true`, `null`, `[]`, `[1,101]`, `{}`, `1e3`, `[[1]]`}},
		{`min: 1`, []string{`1`, `2`}, []string{`0`, `0.999`, `-1`, `"5"`, `[0]`}},
		{`min: 1, max: 3`, []string{`1`, `3`}, []string{`0`, `4`}},
		{`enum: [orders, 3, true]`, []string{`"orders"`, `3`, `3.0`, `true`, `["orders",3]`}, []string{`"Orders"`, `"3"`, `"true"`, `false`, `1`, `["orders","x"]`, `null`}},
		{`pattern: "[a-z]+"`, []string{`"abc"`}, []string{`""`, `"abc "`, `"abc\n"`, `"1abc"`, `"abc1"`, `5`, `"Abc"`}},
		{`pattern: "a|b"`, []string{`"a"`, `"b"`}, []string{`"ax"`, `"xb"`, `"ab"`}},
		{`max_length: 3`, []string{`"abc"`, `""`, `"äöü"`, `["abc","d"]`}, []string{`"abcd"`, `["abc","abcd"]`, `3`, `null`}},
		{`max_length: 0`, []string{`""`}, []string{`"a"`}},
		{`domains: [example.com, "*.example.org"]`,
			[]string{`"example.com"`, `"bob@example.com"`, `"https://example.com/x?y"`, `"https://a.example.org"`, `"a.b.example.org"`, `"EXAMPLE.com"`},
			[]string{`"example.org"`, `"a.example.com"`, `"example.com.evil.test"`, `"https://example.com@evil.test/"`, `"https://evil.test/example.com"`, `"https://evil.test#example.com"`,
				`"https://evil.test?@example.com"`, `"evil.test\\@example.com"`, `"badexample.org"`, `"a@evil.test, b@example.com"`, `""`, `5`}},
		{`paths: ["/srv/data/*", "/srv/x.txt"]`,
			[]string{`"/srv/data/a"`, `"/srv/data/a/b.txt"`, `"/srv/x.txt"`},
			[]string{`"/srv/data"`, `"/srv/data/../x"`, `"/srv/data/./a"`, `"/srv/data/a/../../etc/passwd"`, `"/srv//data/a"`, `"srv/data/a"`, `"/srv/datax/a"`, `"/srv/x.txt/a"`, `"/srv/data/%2e%2e/a"`, `"/srv/data/a\\..\\b"`, `"/srv/data/a\u0000b"`, `"/SRV/data/a"`}},
		{`claim: email`, []string{`"alice@example.com"`, `["alice@example.com"]`}, []string{`"bob@example.com"`, `"Alice@example.com"`, `["alice@example.com","bob@example.com"]`, `null`, `[]`}},
		{`claim: teams`, []string{`"red"`, `["blue","red"]`}, []string{`"green"`, `"red,blue"`}},
		{`claim: level`, []string{`3`}, []string{`"3"`, `4`}},
		{`claim: sub`, []string{`"alice"`}, []string{`"bob"`, `"alice "`}},
		{`claim: absent`, nil, []string{`"alice"`, `null`, `""`}},
	} {
		p := newPDP(t, "version: 1\nroles: {r: {who: {users: [alice]}, servers: {s: {tools: {t: {arguments: {a: {"+c.constraint+"}}}}}}}}\n")
		ask := func(arguments string, want policies.Reason) {
			q := call(t, "alice", "editor", "s", "t")
			q.Claims, q.Arguments = jsontext.Value(me), jsontext.Value(arguments)
			if d := p.Decide(t.Context(), q); d.Reason != want || d.Allowed() != (want == policies.ReasonAllowed) {
				t.Errorf("%s of %s: %v %s, want %s", c.constraint, arguments, d.Allowed(), d.Reason, want)
			}
		}
		for _, v := range c.inside {
			ask(`{"a":`+v+`}`, policies.ReasonAllowed)
		}
		for _, v := range c.outside {
			ask(`{"a":`+v+`}`, policies.ReasonArgument)
		}
		ask(`{}`, policies.ReasonArgument)
		ask(`{"b":1}`, policies.ReasonArgument)
	}
}
