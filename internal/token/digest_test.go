package token_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
)

// sumOf is the digest of a value that is in canonical form already.
func sumOf(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return b64(sum[:])
}

// A13: TestDigestOfRFC8785: the value on the left has the canonical form on the right.
func TestDigestOfRFC8785(t *testing.T) {
	tests := []struct {
		name      string
		in        string
		canonical string
	}{
		{"example of §3.2.2", `{
			"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
			"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
			"literals": [null, true, false] }`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`},
		{"names sorted by UTF-16, example of §3.2.3", `{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",` +
			`"1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\"," +
				"\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"},
		{"order of names, at every depth", `{"b":{"d":1,"c":2},"a":[{"z":0,"y":0}]}`, `{"a":[{"y":0,"z":0}],"b":{"c":2,"d":1}}`},
		{"spelling of a whole number", `[1, 1.0, 1e0, 10e-1, 0.1E1]`, `[1,1,1,1,1]`},
		{"minus zero", `[-0, -0.0]`, `[0,0]`},
		{"smallest and largest double, appendix B", `[5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e+308]`,
			`[5e-324,-5e-324,1.7976931348623157e+308,-1.7976931348623157e+308]`},
		{"turning points of appendix B", `[9007199254740992, -9007199254740992, 295147905179352830000, 9.999999999999997e22, 1e23, 1.0000000000000001e23,` +
			`999999999999999900000, 1e21, 9.999999999999997e-7, 0.000001]`,
			`[9007199254740992,-9007199254740992,295147905179352830000,9.999999999999997e+22,1e+23,1.0000000000000001e+23,` +
				`999999999999999900000,1e+21,9.999999999999997e-7,0.000001]`},
		{"strings are not normalised", `["\u00e9","e\u0301"]`, "[\"é\",\"e\u0301\"]"},
		{"a number that is a string", `["12345678901234567890"]`, `["12345678901234567890"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := token.Digest(jsontext.Value(tt.in))
			if err != nil || got != sumOf(tt.canonical) {
				t.Errorf("Digest = %q, %v, want that of %s", got, err, tt.canonical)
			}
		})
	}
}

func TestDigestRefusesWhatIsNotStrictJSON(t *testing.T) {
	for _, in := range []string{
		``, ` `, `{`, `{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `[{"x":{"a":1,"a":2}}]`, "\"\xff\"", `"\ud800"`, `01`, `+1`, `.5`, `NaN`, `1 2`, `{}{}`,
		`{a:1}`, `'a'`, `[1,]`, "\ufeff{}", "\"\n\"", strings.Repeat("[", 20000) + strings.Repeat("]", 20000),
	} {
		if got, err := token.Digest(jsontext.Value(in)); err == nil || got != "" {
			t.Errorf("Digest(%.40q) = %q, %v, want an error", in, got, err)
		}
	}
}

// TestTwoIntegersNeverShareADigest: RFC 8785 rounds to a double, and the tool
// behind may not.
func TestTwoIntegersNeverShareADigest(t *testing.T) {
	for _, in := range []string{
		`9007199254740993`, `-9007199254740993`, `9223372036854775807`, `18446744073709551615`, `{"account":12345678901234567890}`, `[[{"a":[9007199254740993]}]]`,
		`9007199254740993.0`, `9007199254740993e0`, `0.9007199254740993e16`, `90071992547409930E-1`, `1e400`, `1E400`, `-1e400`, `1e999999999`,
		`1180591620717411303424`, `0.` + strings.Repeat("0", 500) + `1e600`, `9007199254740991.5`,
	} {
		if got, err := token.Digest(jsontext.Value(in)); !errors.Is(err, token.ErrInexact) || got != "" {
			t.Errorf("Digest(%.40s) = %q, %v, want %v", in, got, err, token.ErrInexact)
		}
	}
	for _, in := range []string{
		`9007199254740991`, `-9007199254740991`, `9007199254740992`, `9007199254740994`, `1e20`, `10e19`, `100000000000000000000`, `0.1`, `0.1000000000000000055511151231257827`,
		`1e-400`, `123456789.123456789123456789`, `"9007199254740993"`, `{"9007199254740993":"1e999"}`,
	} {
		if _, err := token.Digest(jsontext.Value(in)); err != nil {
			t.Errorf("Digest(%s): %v", in, err)
		}
	}
}

// A13.
func TestDigestChangesWithEveryBit(t *testing.T) {
	const in = `{"to":"bob@example.com","subject":"hi","body":"x","limit":100,"deep":[true,null,{"a":-1.5}]}`
	want, err := token.Digest(jsontext.Value(in))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(in) * 8 {
		changed := []byte(in)
		changed[i/8] ^= 1 << (i % 8)
		if got, err := token.Digest(changed); err == nil && got == want {
			t.Errorf("%s has the digest of %s", changed, in)
		}
	}
}

// TestDigestLeavesItsInputAlone: the same bytes go on to the upstream.
func TestDigestLeavesItsInputAlone(t *testing.T) {
	in := jsontext.Value(`{"b": 1.0, "a": "\u0041"}`)
	if _, err := token.Digest(in); err != nil || string(in) != `{"b": 1.0, "a": "\u0041"}` {
		t.Errorf("input is now %s (%v)", in, err)
	}
}

func TestDefinitionWithALargeNumberIsPinnedToTheLastDigit(t *testing.T) {
	digest := func(s string) string {
		t.Helper()
		d, err := token.DigestDefinition(jsontext.Value(s))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	large := digest(`{"maximum":9223372036854775807,"minimum":1}`)
	if other := digest(`{"minimum":1, "maximum":9223372036854775806}`); other == large {
		t.Error("another maximum has the same digest")
	}
	if reordered := digest(`{"minimum":1, "maximum":9223372036854775807}`); reordered != large {
		t.Error("the order of the members changes the digest")
	}
	small := `{"maximum":1e2}`
	if plain, err := token.Digest(jsontext.Value(small)); err != nil || plain != digest(small) {
		t.Errorf("an ordinary definition: %s, error %v; want the digest of RFC 8785", digest(small), err)
	}
}
