package token_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
)

const goodPerson = `{"iss":"https://as.example","sub":"alice","aud":"https://as.example/mcp/mail","client_id":"C","scope":"mcp:tools","jti":"j1","iat":900,` +
	`"exp":1300,"auth_time":950,"acr":"mfa","groups":["a","b c"],"claims":{"a":"x","b":[],"c":1.5,"d":true}}`

// FuzzParseAccess: header and payload are signed with the right key, so that the
// fuzzer gets beyond the signature. What is accepted is for us, lives, names
// somebody, has at most eight actors, and says of a person what a policy can read.
func FuzzParseAccess(f *testing.F) {
	for _, header := range []string{goodHeader, `{"alg":"none"}`, `null`, `{"alg":"EdDSA","kid":"ed","typ":"at+jwt"}`} {
		for _, payload := range []string{goodAccess, goodCall, goodPerson, `{}`, `null`, `[]`, nested(9)} {
			f.Add(header, payload, "")
		}
	}
	f.Add(goodHeader, goodAccess, "=")
	f.Fuzz(func(t *testing.T, header, payload, tail string) {
		raw := forge(header, payload, es256(ec)) + tail
		v := newVerifier(&now)
		if _, err := v.ParseCall(t.Context(), raw, mail); err == nil {
			if _, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{}); err == nil {
				t.Fatalf("%s is an access token and a call token", payload)
			}
		}
		a, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{})
		if err != nil {
			return
		}
		if a.Audience() != mail || !a.Expiry().After(now) || a.Subject().IsZero() || a.ClientID().IsZero() || len(a.Actors().Chain()) > 8 || tail != "" {
			t.Errorf("accepted %s %s", header, payload)
		}
		if len(a.Groups()) > token.MaxGroups || slices.Contains(a.Groups(), "") || len(a.Claims()) > token.MaxAttributes || a.Claims() != nil && a.Claims().Kind() != '{' {
			t.Errorf("accepted %s with groups %q, claims %s", payload, a.Groups(), a.Claims())
		}
		if s, err := token.ParseScope(a.Scope().String()); err != nil || s != a.Scope() {
			t.Errorf("scope %q is not what it reads as: %q, %v", a.Scope(), s, err)
		}
	})
}

// FuzzParseScope: what is accepted is canonical once it was printed.
func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"", " ", "mcp:tools", "a b a", "a\u2003b", "tool:x tool:y", `"`, "tool:\x00", strings.Repeat("a ", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := token.ParseScope(in)
		if err != nil {
			if !s.IsZero() {
				t.Errorf("ParseScope(%q) = %q with %v", in, s, err)
			}
			return
		}
		if again, err := token.ParseScope(s.String()); err != nil || again != s {
			t.Errorf("ParseScope(%q) = %q, then %q, %v", in, s, again, err)
		}
		for _, field := range s.Fields() {
			if !s.Has(field) || !strings.Contains(in, field) {
				t.Errorf("ParseScope(%q) has no %q", in, field)
			}
			if c, err := token.ParseToolScope(field); err == nil && (c.String() != field || strings.ContainsAny(field, " \t\n") || !s.Covers(c)) {
				t.Errorf("tool scope %q of %q", c, field)
			}
		}
	})
}

// FuzzDigest: what has a digest has a canonical form with the same one, and that
// form is the only thing that it depends on.
func FuzzDigest(f *testing.F) {
	for _, s := range []string{`{}`, `{"b":1.0,"a":[1e3]}`, `9007199254740993`, `1e400`, `"\ud83d\ude00"`, `{"a":1,"a":2}`, "\"\xff\"", `-0`, `[]`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := token.Digest(in)
		if err != nil {
			return
		}
		canonical := jsontext.Value(in).Clone()
		if err := canonical.Canonicalize(); err != nil {
			t.Fatalf("%s has a digest and no canonical form: %v", in, err)
		}
		if again, err := token.Digest(canonical); err != nil || again != got {
			t.Errorf("Digest(%s) = %s, of its canonical form %s, %v", in, got, again, err)
		}
	})
}
