package redact_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/redact"
)

// known are values as Vault makes them, and as people do.
var known = []string{
	"A1a-x7Rk2PqLm9Zt4WvB", "8 bytes!", `p@ss"w\o/r'd<&>%41+\n`, "schlüssel-日本-🔑-ende", "nothing%20to%20see", "hvs.CAESIJ", "{\"k\":\"v v\"}",
	"MHcCAQEEIBxkq7vJ4mNz8TtR2LwYp0aQe5HsVd9KfGjUc3XbZoWnoAoGCCqGSM49AwEHoUQ",
}

// unharmed are texts around a value that are not to be lost.
const left, right = "before: ", " :after"

func jsonText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func eachByte(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

func eachRune(s, format string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, format, r)
	}
	return b.String()
}

func wrapped(s string, width int, end string) string {
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + end)
		s = s[width:]
	}
	return b.String() + s
}

// echoes are how a server might say what it was given.
var echoes = map[string]func(string) string{
	"as it is":                func(s string) string { return s },
	"JSON":                    jsonText,
	"JSON in JSON":            func(s string) string { return jsonText(jsonText(s)) },
	"JSON in JSON in JSON":    func(s string) string { return jsonText(jsonText(jsonText(s))) },
	"JSON, each byte escaped": func(s string) string { return eachRune(s, `\u{%x}`) },
	"a backslash before":      func(s string) string { return `\` + s },
	"two backslashes before":  func(s string) string { return `\\` + s },
	"quoted by Go":            strconv.Quote,
	"quoted by Go in ASCII":   strconv.QuoteToASCII,
	"Go's bytes":              func(s string) string { return fmt.Sprintf("%v", []byte(s)) },
	"Go's %x":                 func(s string) string { return fmt.Sprintf("%x %X", s, s) },
	"Go's % x":                func(s string) string { return fmt.Sprintf("% x, % X", s, s) },
	"Python's bytes":          func(s string) string { return "b'" + eachByte(s, `\x%02x`) + "'" },
	"Python's list":           func(s string) string { return "[" + strings.TrimSuffix(eachByte(s, "%d, "), ", ") + "]" },
	"octal":                   func(s string) string { return eachByte(s, `\%03o`) },
	"\\U of Python":           func(s string) string { return eachRune(s, `\U%08X`) },
	"escape of JavaScript":    func(s string) string { return eachUTF16(s, "%%u%04X") },
	"a query":                 url.QueryEscape,
	"a path":                  url.PathEscape,
	"each byte in percent":    func(s string) string { return eachByte(s, "%%%02x") },
	"percent twice":           func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"JSON of a query of JSON": func(s string) string { return jsonText(url.QueryEscape(jsonText(s))) },
	"HTML":                    html.EscapeString,
	"HTML by numbers":         func(s string) string { return eachRune(s, "&#%d;") },
	"HTML by numbers in hex":  func(s string) string { return eachRune(s, "&#x%X;") },
	"hex with colons":         func(s string) string { return strings.TrimSuffix(eachByte(s, "%02x:"), ":") },
	"base64":                  func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 for URLs":         func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 of Basic":         func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s)) },
	"base64, at one":          func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s + "yy")) },
	"base64, at two":          func(s string) string { return base64.StdEncoding.EncodeToString([]byte("xx" + s + "y")) },
	"base64, after noise":     func(s string) string { return "AAA" + base64.StdEncoding.EncodeToString([]byte("xx"+s+"yyy")) },
	"base64 of JSON": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(`{"password":` + jsonText(s) + `}`))
	},
	"base64 of a query": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte("password=" + url.QueryEscape(s)))
	},
	"base64 in lines": func(s string) string {
		return wrapped(base64.StdEncoding.EncodeToString([]byte("a secret: "+s)), 16, "\n")
	},
	"base64 in lines with indent": func(s string) string {
		return wrapped(base64.StdEncoding.EncodeToString([]byte("a secret: "+s)), 20, "\r\n    ")
	},
	"base64 in lines in JSON": func(s string) string {
		return jsonText(wrapped(base64.StdEncoding.EncodeToString([]byte(s)), 20, "\n"))
	},
	"a zero-width space within": func(s string) string { return s[:3] + "\u200b" + s[3:] },
	"twice, glued":              func(s string) string { return s + s },
}

func TestEchoedCredentialIsMasked(t *testing.T) {
	t.Parallel()
	for name, echo := range echoes {
		for _, value := range known {
			in := left + echo(value) + right
			r := (*redact.Redactor)(nil).Literal([]string{"another-value", value})
			for where, got := range map[string]string{
				"Text":      r.Text(in),
				"JSON":      through(t, r, in, func(s string) string { return jsonText(s) }),
				"a name":    through(t, r, in, func(s string) string { return `{` + jsonText(s) + `:1}` }),
				"escaped":   through(t, r, in, func(s string) string { return `"` + eachUTF16(s, `\u%04x`) + `"` }),
				"in a blob": through(t, r, in, func(s string) string { return `{"blob":` + jsonText(s) + `}` }),
			} {
				if !strings.Contains(got, "[credential]") || strings.Contains(got, value) || !strings.Contains(got, strings.TrimSpace(left)) || !strings.Contains(got, strings.TrimSpace(right)) {
					t.Errorf("%s, %s of %q: %s", name, where, value, got)
				}
			}
		}
	}
}

func eachUTF16(s, format string) string {
	var b strings.Builder
	for _, c := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// through is what JSON makes of a text in some value.
func through(t *testing.T, r *redact.Redactor, s string, in func(string) string) string {
	t.Helper()
	out, found, err := r.JSON(jsontext.Value(in(s)))
	if err != nil {
		t.Fatal(err)
	}
	if out == nil || found.Total() == 0 || !out.IsValid() {
		return "unchanged: " + in(s)
	}
	return string(out)
}

func TestOnlyTheCredentialIsMasked(t *testing.T) {
	t.Parallel()
	value := "A1a-x7Rk2PqLm9Zt4WvB"
	r := (*redact.Redactor)(nil).Literal([]string{value})
	for in, want := range map[string]string{
		"the password is " + value + ", keep it":                    "the password is [credential], keep it",
		`{"dsn":"postgres://v-1:` + value + `@db/app"}`:             `{"dsn":"postgres://v-1:[credential]@db/app"}`,
		"100 % of A1a-x7Rk2PqLm9Zt4Wv, &amp; %41 \\u0041 \n":        "100 % of A1a-x7Rk2PqLm9Zt4Wv, &amp; %41 \\u0041 \n",
		value + value + " " + value:                                 "[credential][credential] [credential]",
		"%3D" + value + "%26x":                                      "%3D[credential]%26x",
		"x" + hex.EncodeToString([]byte(value)) + "y":               "x[credential]y",
		"Basic " + base64.StdEncoding.EncodeToString([]byte(value)): "Basic [credential]=",
	} {
		if got := r.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	if out, found, err := r.JSON(ordinary); out != nil || found.Total() != 0 || err != nil {
		t.Errorf("JSON(ordinary) = %s, %v, %v", out, found, err)
	}
}

func TestCredentialIsMaskedWhateverElseIs(t *testing.T) {
	t.Parallel()
	value := "A1a-x7Rk2PqLm9Zt4WvB"
	base := newRedactor(t, everything)
	for name, r := range map[string]*redact.Redactor{
		"nil": (*redact.Redactor)(nil).Literal([]string{value}), "everything": base.Literal([]string{value}), "nothing": newRedactor(t, redact.Config{}).Literal([]string{value}),
		"deny": newRedactor(t, redact.Config{Card: redact.Deny}).Literal([]string{value}), "two": base.Literal([]string{"another-value"}).Literal([]string{value}),
	} {
		less, err := r.Without("email")
		if err != nil {
			t.Fatal(err)
		}
		more, err := less.With("phone")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*redact.Redactor{r, less, more} {
			out, found, err := r.JSON(jsontext.Value(`{"password":"` + value + `","` + value + `":1,"` + value + `x":2}`))
			if want := `{"password":"[credential]","[credential]":1,"[credential]x":2}`; string(out) != want || found.String() != "credential:3" || err != nil {
				t.Errorf("%s: %s, %v, %v", name, out, found, err)
			}
			if got := r.Arguments(jsontext.Value(`["` + value + `"]`)); string(got) != `["[credential]"]` {
				t.Errorf("%s: Arguments: %s", name, got)
			}
		}
	}
	if got := base.Text(value); got != value {
		t.Errorf("Literal changed the Redactor that it was made of: %s", got)
	}
	for _, useless := range [][]string{nil, {""}, {"7 bytes"}, {"credential"}, {"[credential]"}} {
		if r := base.Literal(useless); r != base {
			t.Errorf("Literal(%q) is another one", useless)
		}
	}
}

func TestNumberThatIsACredentialIsMasked(t *testing.T) {
	t.Parallel()
	r := (*redact.Redactor)(nil).Literal([]string{"1234567890123456789012345"})
	for in, want := range map[string]string{
		`[1234567890123456789012345]`:   `["[credential]"]`,
		`[-1234567890123456789012345]`:  `["-[credential]"]`,
		`[1234567890123456789012345e2]`: `["[credential]e2"]`,
	} {
		if out, _, err := r.JSON(jsontext.Value(in)); string(out) != want || err != nil {
			t.Errorf("JSON(%s) = %s, %v, want %s", in, out, err, want)
		}
	}
}

// FuzzLiteral puts a value into any text, in every way: it is always found.
func FuzzLiteral(f *testing.F) {
	f.Add(known[0], "a\\", "b")
	f.Add(known[2], "%4", "%")
	f.Add(known[3], "AAAAAAAAAAAAAAAAAAAAA\n", "\nAAAA")
	f.Fuzz(func(t *testing.T, value, before, after string) {
		if len(value) < 8 || len(value) > 200 || strings.Contains("[credential]", value) || len(before)+len(after) > 1000 || !jsontext.Value(jsonText(value)).IsValid() || strings.ToValidUTF8(value, "") != value {
			return
		}
		r := (*redact.Redactor)(nil).Literal([]string{value})
		for name, echo := range map[string]func(string) string{"as it is": echoes["as it is"], "hex": echoes["Go's %x"], "base64": echoes["base64, at two"], "list": echoes["Go's bytes"]} {
			in := before + " " + echo(value) + " " + after
			if got := r.Text(in); !strings.Contains(got, "[credential]") && got != "[not shown]" || strings.Contains(got, value) {
				t.Errorf("%s of %q in %q: %q", name, value, in, got)
			}
		}
	})
}

func BenchmarkLiteral(b *testing.B) {
	values := []string{known[0], base64.StdEncoding.EncodeToString([]byte("v-reports-1:" + known[0]))}
	r := (*redact.Redactor)(nil).Literal(values)
	with, err := redact.New(defaults)
	if err != nil {
		b.Fatal(err)
	}
	prose := text(strings.Repeat("The auditor asked for the key to room 4711, and they gave her the token. ", 1400))
	escaped := text(strings.Repeat(`{\"a\":\"The auditor asked for 50% of the key\"}\n`, 2000))
	for name, v := range map[string]jsontext.Value{"result": ordinary, "text 100 KB": prose, "escaped 100 KB": escaped} {
		for kind, r := range map[string]*redact.Redactor{"alone": r, "with rules": with.Literal(values), "rules alone": with} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.SetBytes(int64(len(v)))
				for b.Loop() {
					if out, _, err := r.JSON(v); out != nil || err != nil {
						b.Fatal(string(out), err)
					}
				}
			})
		}
	}
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			with.Literal(values)
		}
	})
}

// TestCredentialInBinaryContentIsMasked: a file of a server's is as good as a text.
func TestCredentialInBinaryContentIsMasked(t *testing.T) {
	t.Parallel()
	value := known[0]
	blob := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("# a file of settings\n", 20) + "password=" + value + "\n"))
	out, found, err := (*redact.Redactor)(nil).Literal([]string{value}).JSON(jsontext.Value(`{"blob":"` + blob + `"}`))
	if err != nil || found.Total() != 1 || !strings.Contains(string(out), "[credential]") {
		t.Errorf("JSON = %.80s, %v, %v", out, found, err)
	}
}

// TestTextMadeToTakeLongIsLookedAtAllTheSame: time does not grow with the square of it.
func TestTextMadeToTakeLongIsLookedAtAllTheSame(t *testing.T) {
	t.Parallel()
	value := known[7]
	r := (*redact.Redactor)(nil).Literal([]string{value, strings.Repeat("a", 64)})
	for _, part := range []string{`\`, `\\n`, `%25`, `&amp;`, "&", "\n", "AAAAAAAAAAAAAAAA\n", "AAAAAAAAAAAAAAAA\r\n          ", value[:len(value)-1], strings.Repeat("a", 63) + "b", "a", `\ud83d`, `\u{`, "%u"} {
		in := strings.Repeat(part, 256<<10/len(part)) + " " + value
		out, _, err := r.JSON(text(in))
		if err != nil || !strings.HasSuffix(string(out), ` [credential]"`) {
			t.Errorf("%.20q: %d bytes, %v", part, len(out), err)
		}
	}
}
