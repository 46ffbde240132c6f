package redact_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/redact"
)

func TestValueHiddenByWritingItDifferentlyIsFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, want string }{
		{"escaped @", `"ada\u0040harbour.example"`, `"[email]"`},
		{"every letter escaped", `"\u0034\u0031\u0031\u0031 1111 1111 1111"`, `"[card]"`},
		{"escaped in JSON in the text", `"{\"a\":\"ada\\u0040harbour.example\"}"`, `"{\"a\":\"[email]\"}"`},
		{"escaped in JSON in JSON in the text", `"{\"a\":\"{\\\"b\\\":\\\"ada\\\\u0040harbour.example\\\"}\"}"`, `"{\"a\":\"{\\\"b\\\":\\\"[email]\\\"}\"}"`},
		{"after a line break in JSON in the text", `"{\"a\":\"key:\\n` + githubToken + `\\n\"}"`, `"{\"a\":\"key:\\n[secret:github-pat]\\n\"}"`},
		{"after a letter that is an escape", `"\\n` + awsKey + `"`, `"\\n[secret:aws-access-token]"`},
		{"full-width digits", `"４１１１ １１１１ １１１１ １１１１"`, `"[card]"`},
		{"Arabic digits", `"٤١١١ ١١١١ ١١١١ ١١١١"`, `"[card]"`},
		{"mathematical digits", `"𝟒𝟏𝟏𝟏 𝟏𝟏𝟏𝟏 𝟏𝟏𝟏𝟏 𝟏𝟏𝟏𝟏"`, `"[card]"`},
		{"the same, as halves", `"\ud835\udfd2111111111111111"`, `"[card]"`},
		{"the same, as halves in JSON in the text", `"\\ud835\\udfd2111111111111111"`, `"[card]"`},
		{"full-width @ and dot", `"ada＠harbour．example"`, `"[email]"`},
		{"full-width letters", `"ｇhp_` + githubToken[4:] + `"`, `"[secret:github-pat]"`},
		{"zero-width space", `"4111\u200b1111\u200b1111\u200b1111"`, `"[card]"`},
		{"zero-width joiner in a secret", `"gh\u200dp_` + githubToken[4:] + `"`, `"[secret:github-pat]"`},
		{"soft hyphen, tag, variation selector, combining mark", `"ada\u00ad@har\udb40\udc41bour\ufe0f.exa\u034fmple"`, `"[email]"`},
		{"direction marks", `"\u202e4111\u202c111111111111"`, `"\u202e[card]"`},
		{"no-break spaces", `"4111\u00a01111\u202f1111\u20031111"`, `"[card]"`},
		{"dashes", `"4111–1111—1111‑1111"`, `"[card]"`},
		{"mixed separators", `"4111 - 1111-1111  1111"`, `"[card]"`},
		{"IBAN with no-break spaces", `"GB82\u00a0WEST\u00a01234\u00a05698\u00a07654\u00a032"`, `"[iban]"`},
		{"a number of JSON", `{"n":4111111111111111}`, `{"n":"[card]"}`},
		{"a negative number", `[-4111111111111111]`, `["[card]"]`},
		{"a number with a fraction", `[4111111111111111.0]`, `["[card]"]`},
		{"a number with an exponent", `[4.111111111111111e15, 4111111111111111e-0]`, `["[card]", "[card]"]`},
		{"two that share a character, a/c in one", `"x@b.cd℀@d.ef"`, `"[email]"`},
		{"what allows a line for gitleaks", `"` + githubToken + ` gitleaks:allow"`, `"[secret:github-pat] gitleaks:allow"`},
		{"within a URL", `"https://x.example/?to=ada@harbour.example&pan=4111111111111111"`, `"https://x.example/?to=[email]&pan=[card]"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := test.want
			if strings.HasPrefix(test.in, `"\u202e`) { // what is left is as it was
				want = strings.Replace(want, "\\u202e", "\u202e", 1)
			}
			if got := masked(t, everything, test.in); got != want {
				t.Errorf("JSON(%s) = %s, want %s", test.in, got, want)
			}
		})
	}
}

func TestValueInTheNameOfAMemberIsMasked(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"` + address + `":1}`:                                  `{"[email]":1}`,
		`{"a\u0040b.example":1,"c@d.example":{"e@f.example":2}}`: `{"[email]":1,"[email 2]":{"[email 3]":2}}`,
		`{"token of ` + address + `":true,"x":"` + visa + `"}`:   `{"token of [email]":true,"x":"[card]"}`,
	} {
		if got := masked(t, everything, in); got != want {
			t.Errorf("JSON(%s) = %s, want %s", in, got, want)
		}
	}
}

// TestMaskedNameCannotTakeThePlaceOfAnother: two members of one name are read
// differently by different parsers.
func TestMaskedNameCannotTakeThePlaceOfAnother(t *testing.T) {
	t.Parallel()
	out, _, err := newRedactor(t, everything).JSON(jsontext.Value(`{"[email]":1,"a@b.example":2}`))
	if out != nil || !errors.Is(err, redact.ErrUnchecked) {
		t.Errorf("JSON = %s, %v, want ErrUnchecked", out, err)
	}
}

func TestBrokenJSONDoesNotPass(t *testing.T) {
	t.Parallel()
	for _, in := range []string{``, `{`, `{"a":1,"a":2}`, `"\ud800"`, "\"\xff\"", `1 2 "` + visa, `{"a":1}}`, strings.Repeat("[", 20000)} {
		if out, _, err := newRedactor(t, everything).JSON(jsontext.Value(in)); err == nil {
			t.Errorf("JSON(%.40q) = %s, want an error", in, out)
		}
	}
}

// TestTextMadeToTakeLongIsRefused: where every word begins a secret that the rest could
// be, time grows with the square. It is refused by what was read, not by a clock.
func TestTextMadeToTakeLongIsRefused(t *testing.T) {
	t.Parallel()
	all := newRedactor(t, everything)
	for name, part := range map[string]string{
		"curl":         "curl -s ",
		"private keys": "-----BEGIN PRIVATE KEY ",
	} {
		t.Run(name, func(t *testing.T) {
			in := text(strings.Repeat(part, 256<<10/len(part)))
			if out, _, err := all.JSON(in); !errors.Is(err, redact.ErrUnchecked) {
				t.Errorf("JSON = %.40s, %v, want ErrUnchecked", out, err)
			}
		})
	}
	t.Run("in many strings", func(t *testing.T) {
		one := `"` + strings.Repeat("curl -s ", 32) + `",`
		in := jsontext.Value("[" + strings.Repeat(one, 256<<10/len(one)) + "0]")
		if out, _, err := all.JSON(in); !errors.Is(err, redact.ErrUnchecked) {
			t.Errorf("JSON = %.40s, %v, want ErrUnchecked", out, err)
		}
	})
	if out, _, err := all.JSON(text(strings.Repeat("x", 5<<20))); !errors.Is(err, redact.ErrUnchecked) {
		t.Errorf("JSON of 5 MiB = %.40s, %v, want ErrUnchecked", out, err)
	}
}

// TestValueAtTheEndOfAHugeTextIsFound: 4 MiB, the most that an upstream may send.
func TestValueAtTheEndOfAHugeTextIsFound(t *testing.T) {
	t.Parallel()
	filler := strings.Repeat("the key to berth 4 is with the harbour master. ", 4<<20/48)
	got := masked(t, everything, `"`+filler+githubToken+` `+visa+`"`)
	if !strings.HasSuffix(got, `[secret:github-pat] [card]"`) {
		t.Errorf("JSON = …%s", got[len(got)-80:])
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":"` + visa + `"}`, `["` + address + `",4111111111111111]`, `"` + account + ` ` + number + `"`, `"\\u0040 a@b.example\\n"`, string(ordinary),
		`{"password":"` + genericKey + `","k":"` + githubToken + `"}`, string(text(privateKey)), `"４１１１１１１１１１１１１１１１\u200b"`, `{"phone":"1234567"}`, `"x@b.cd℀@d.ef"`, `"eyAAAAAAAAAAAAAAAAAAAA.eyAAAAAAAAAAAAAAAAAA.AAAAAAAAAAA"`} {
		f.Add(s)
	}
	r := newRedactor(f, everything)
	f.Fuzz(func(t *testing.T, s string) {
		out, found, err := r.JSON(jsontext.Value(s))
		if err != nil || out == nil {
			return
		}
		if found.Total() == 0 || !out.IsValid() {
			t.Fatalf("JSON(%q) = %q, %v", s, out, found)
		}
		if again, found, err := r.JSON(out); again != nil || err != nil {
			t.Fatalf("JSON(%q) = %q, and that %q: %v %v", s, out, again, found, err)
		}
	})
}

// FuzzText puts values into any text: they are never in what comes out.
func FuzzText(f *testing.F) {
	f.Add("write to ", " now")
	f.Add(`{\"a\":\"`, `\"}`)
	f.Add("key=", ";")
	f.Add("４", "\u200b")
	r := newRedactor(f, everything)
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, value := range []string{visa, account, address, number, githubToken} {
			in := before + " " + value + " " + after
			if strings.Contains(before+after, value) {
				return
			}
			if got := r.Text(in); strings.Contains(got, value) {
				t.Errorf("Text(%q) = %q", in, got)
			}
		}
	})
}
