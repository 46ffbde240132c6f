package token_test

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// person is a grant to alice, of whom her IdP says something.
func person(t testing.TB) token.AccessSpec {
	return token.AccessSpec{Subject: subject(t, "alice"), ClientID: identity.MustClientID("C"), Audience: mail, Scope: scope(t, "mcp:tools"), Txn: "grant-1",
		Lifetime: 5 * time.Minute, AuthTime: time.Unix(950, 0), ACR: "urn:example:mfa", Groups: []string{"finance", "Domain Users"},
		Claims: map[string]any{"department": "finance", "cost_centre": 4711.0, "fraction": stdjson.Number("0.5"), "staff": true, "sites": []string{"Kiel", "Bonn"}, "none": []any{}}}
}

// payloadOf is what a stranger reads in a token.
func payloadOf(t *testing.T, raw string) (c map[string]any) {
	t.Helper()
	b, err := token.VerifyJWS(raw, ec.Public())
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAttributesRoundTrip(t *testing.T) {
	raw, minted, err := newMinter(&now, ecSigner()).Access(person(t))
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(&now)
	for range 2 { // the second time from the cache
		got, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []token.Access{minted, got} {
			const claims = `{"cost_centre":4711,"department":"finance","fraction":0.5,"none":[],"sites":["Kiel","Bonn"],"staff":true}`
			if string(a.Claims()) != claims || a.ACR() != "urn:example:mfa" || !a.AuthTime().Equal(time.Unix(950, 0)) {
				t.Errorf("claims %s, acr %s, auth_time %v", a.Claims(), a.ACR(), a.AuthTime())
			}
			if diff := cmp.Diff([]string{"finance", "Domain Users"}, a.Groups()); diff != "" {
				t.Errorf("groups (-want +got)\n%s", diff)
			}
		}
	}
	want := map[string]any{"iss": issuer, "sub": "alice", "aud": mail, "client_id": "C", "scope": "mcp:tools", "jti": minted.ID(), "iat": 1000.0, "exp": 1300.0,
		"txn": "grant-1", "auth_time": 950.0, "acr": "urn:example:mfa", "groups": []any{"finance", "Domain Users"}, // RFC 9068 §2.2.1, §2.2.3.1
		"claims": map[string]any{"cost_centre": 4711.0, "department": "finance", "fraction": 0.5, "none": []any{}, "sites": []any{"Kiel", "Bonn"}, "staff": true}}
	if diff := cmp.Diff(want, payloadOf(t, raw)); diff != "" {
		t.Errorf("on the wire (-want +got)\n%s", diff)
	}
}

func TestWorkloadHasNoAttributes(t *testing.T) {
	s := person(t)
	s.Groups, s.Claims, s.ACR, s.AuthTime = nil, map[string]any{}, "", time.Time{}
	raw, minted, err := newMinter(&now, ecSigner()).Access(s)
	if err != nil {
		t.Fatal(err)
	}
	for name := range payloadOf(t, raw) {
		if name == "groups" || name == "claims" || name == "acr" || name == "auth_time" {
			t.Errorf("the token has %s", name)
		}
	}
	got, err := newVerifier(&now).ParseAccess(t.Context(), raw, mail, token.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []token.Access{minted, got, {}} {
		if a.Groups() != nil || a.Claims() != nil || a.ACR() != "" || !a.AuthTime().IsZero() {
			t.Errorf("groups %v, claims %s, acr %q, auth_time %v, want none", a.Groups(), a.Claims(), a.ACR(), a.AuthTime())
		}
	}
}

// TestIdPClaimCannotOverwriteOurs: whatever an IdP calls its claims, and whatever
// they say, the token's own are as the grant has them.
func TestIdPClaimCannotOverwriteOurs(t *testing.T) {
	s := person(t)
	s.Claims = map[string]any{"sub": "root", "aud": "https://other.example", "exp": 1e15, "scope": "mcp:tools tool:x", "client_id": "root", "groups": []string{"admins"},
		"acr": "high", "auth_time": 1e9, "act": "root", "claims": "x", "txn": "x", "iss": "https://evil.example", "__proto__": "x", `a"b\`: "x"}
	raw, _, err := newMinter(&now, ecSigner()).Access(s)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newVerifier(&now).ParseAccess(t.Context(), raw, mail, token.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(a.Subject(), a.ClientID(), a.Scope(), a.Txn(), a.Expiry().Unix(), a.AuthTime().Unix(), a.ACR(), a.Groups(), a.Actors().Chain())
	if want := "alice C mcp:tools grant-1 1300 950 urn:example:mfa [finance Domain Users] [C]\n"; got != want {
		t.Errorf("the token says %s, want %s", got, want)
	}
}

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("g", i)
	}
	return out
}

func TestAttributesOutsideTheirBoundsAreNotMinted(t *testing.T) {
	tests := []struct {
		name string
		edit func(*token.AccessSpec)
		ok   bool
	}{
		{"200 groups", func(s *token.AccessSpec) { s.Groups = names(200) }, true},
		{"201 groups", func(s *token.AccessSpec) { s.Groups = names(201) }, false},
		{"10,000 groups", func(s *token.AccessSpec) { s.Groups = names(10_000) }, false},
		{"a group of 256 bytes", func(s *token.AccessSpec) { s.Groups = []string{strings.Repeat("g", 256)} }, true},
		{"a group of 257 bytes", func(s *token.AccessSpec) { s.Groups = []string{strings.Repeat("g", 257)} }, false},
		{"a group without a name", func(s *token.AccessSpec) { s.Groups = []string{"a", ""} }, false},
		{"a group that is not UTF-8", func(s *token.AccessSpec) { s.Groups = []string{"a\xff"} }, false},
		{"claims of 4 KiB", func(s *token.AccessSpec) {
			s.Groups, s.Claims = nil, map[string]any{"a": strings.Repeat("x", 4<<10-2-len(`{"a":""}`))}
		}, true},
		{"claims of 4 KiB and a byte", func(s *token.AccessSpec) {
			s.Groups, s.Claims = nil, map[string]any{"a": strings.Repeat("x", 4<<10-1-len(`{"a":""}`))}
		}, false},
		{"groups and claims of 4 KiB together", func(s *token.AccessSpec) { s.Groups, s.Claims["a"] = names(200), strings.Repeat("x", 3000) }, false},
		{"a group that grows when it is written", func(s *token.AccessSpec) {
			s.Groups = []string{strings.Repeat("\x00", 250), strings.Repeat("\x01", 250), strings.Repeat("\x02", 250)}
		}, false},
		{"a claim without a name", func(s *token.AccessSpec) { s.Claims = map[string]any{"": "x"} }, false},
		{"a claim with a name of 257 bytes", func(s *token.AccessSpec) { s.Claims = map[string]any{strings.Repeat("n", 257): "x"} }, false},
		{"a claim that is null", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": nil} }, false},
		{"a claim that is an object", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": map[string]any{"b": "c"}} }, false},
		{"a claim that is a list of numbers", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": []any{1.0}} }, false},
		{"a claim that is a list of lists", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": []any{[]any{"x"}}} }, false},
		{"a claim that is a list with null", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": []any{"x", nil}} }, false},
		{"a claim that is no number", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": math.NaN()} }, false},
		{"a claim that is infinite", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": math.Inf(1)} }, false},
		{"a number beyond every number", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": stdjson.Number("1e999")} }, false},
		{"a Number that smuggles a claim", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": stdjson.Number(`1,"b":2`)} }, false},
		{"a claim that is not UTF-8", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": "\xff"} }, false},
		{"a claim that is a function", func(s *token.AccessSpec) { s.Claims = map[string]any{"a": func() {}} }, false},
		{"acr of 257 bytes", func(s *token.AccessSpec) { s.ACR = strings.Repeat("a", 257) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := person(t)
			tt.edit(&s)
			if err := token.CheckAttributes(s.Groups, s.Claims, s.ACR); errors.Is(err, token.ErrAttributes) == tt.ok || err == nil != tt.ok {
				t.Errorf("CheckAttributes = %v, want good: %v", err, tt.ok)
			}
			raw, a, err := newMinter(&now, ecSigner()).Access(s)
			if err == nil != tt.ok || raw == "" == tt.ok || a.Subject().IsZero() == tt.ok {
				t.Fatalf("Access = %q, %v, want good: %v", raw, err, tt.ok)
			}
			if _, err := newVerifier(&now).ParseAccess(t.Context(), raw, mail, token.Confirmation{}); err == nil != tt.ok {
				t.Errorf("ParseAccess = %v, want good: %v", err, tt.ok)
			}
		})
	}
}

// TestForgedAttributesAreRefused: each is signed with the right key.
func TestForgedAttributesAreRefused(t *testing.T) {
	many, _ := json.Marshal(names(201))
	for name, members := range map[string]string{
		"201 groups":                 `"groups":` + string(many),
		"a group without a name":     `"groups":["a",""]`,
		"a group of 257 bytes":       `"groups":["` + strings.Repeat("g", 257) + `"]`,
		"groups a text":              `"groups":"admins"`,
		"groups of numbers":          `"groups":[1]`,
		"groups an object":           `"groups":{"admins":true}`,
		"groups twice":               `"groups":["a"],"groups":["admins"]`,
		"groups twice, once escaped": `"groups":["a"],"\u0067roups":["admins"]`,
		"claims a text":              `"claims":"x"`,
		"claims a list":              `"claims":[]`,
		"claims null":                `"claims":null`,
		"a claim null":               `"claims":{"a":null}`,
		"a claim an object":          `"claims":{"a":{"b":"c"}}`,
		"a claim a list of objects":  `"claims":{"a":[{}]}`,
		"a claim beyond numbers":     `"claims":{"a":1e999}`,
		"a claim twice":              `"claims":{"a":"x","a":"y"}`,
		"a claim twice, by escape":   `"claims":{"a":"x","\u0061":"y"}`,
		"claims of more than 4 KiB":  `"claims":{"a":"` + strings.Repeat("x", 4100) + `"}`,
		"acr a list":                 `"acr":["high"]`,
		"acr of 257 bytes":           `"acr":"` + strings.Repeat("a", 257) + `"`,
		"auth_time a text":           `"auth_time":"950"`,
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, forge(goodHeader, edit(t, goodAccess, `"txn"`, members+`,"txn"`), es256(ec)), token.ErrMalformed)
		})
	}
	refused(t, forge(goodHeader, edit(t, goodAccess, `"txn"`, `"groups":["admins"],"claims":{},"acr":"","txn"`), es256(ec)), nil)
	refused(t, forge(goodHeader, edit(t, goodAccess, `"txn"`, `"groups":["admins"],"txn"`), es256(foreign)), token.ErrSignature)
}

// TestUpstreamIsNotToldAboutThePerson: a call token has the subject and nothing
// else of what the IdP says, also where the exchange is asked for one.
func TestUpstreamIsNotToldAboutThePerson(t *testing.T) {
	m := newMinter(&now, ecSigner())
	_, parent, err := m.Access(person(t))
	if err != nil {
		t.Fatal(err)
	}
	call, err := m.Call(parent, toolCall(t))
	if err != nil {
		t.Fatal(err)
	}
	c := payloadOf(t, call.Bearer())
	for _, name := range []string{"groups", "claims", "acr", "auth_time"} {
		if c[name] != nil {
			t.Errorf("the call token has %s: %v", name, c[name])
		}
	}
	for _, member := range []string{`"groups":["a"]`, `"claims":{"a":"b"}`, `"acr":"high"`} {
		raw := forge(goodHeader, edit(t, goodCall, `"txn"`, member+`,"txn"`), es256(ec))
		if _, err := newVerifier(&now).ParseCall(t.Context(), raw, mail); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("ParseCall of a call token with %s = %v, want %v", member, err, token.ErrMalformed)
		}
	}
}

// TestCachedTokenWithAttributesAllocatesNoMore: they are read once for each token.
func TestCachedTokenWithAttributesAllocatesNoMore(t *testing.T) {
	with, _, err := newMinter(&now, ecSigner()).Access(person(t))
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(&now)
	allocs := func(raw string) float64 {
		return testing.AllocsPerRun(100, func() {
			a, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{})
			if err != nil || a.Groups() == nil != (a.Claims() == nil) {
				t.Fatal(err)
			}
		})
	}
	if n, want := allocs(with), allocs(forge(goodHeader, goodAccess, es256(ec))); n > want {
		t.Errorf("%v allocations, without attributes %v", n, want)
	}
}
