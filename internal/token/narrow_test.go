package token_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// TestEveryKindHasItsOwnParser: each kind is taken by its own parser and refused by the
// others, with the same audience.
func TestEveryKindHasItsOwnParser(t *testing.T) {
	m, parent := newMinter(&now, ecSigner()), accessOf(t, goodAccess)
	client := identity.MustClientID("client")
	read, _ := token.ToolScope("read")
	tool, _, err := m.Tool(parent, token.ToolSpec{Child: token.Child{Audience: mail, ClientID: client}, Scope: read, Details: token.Details{Server: "mail", ArgumentsDigest: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	delegated, _, err := m.Delegate(parent, token.DelegateSpec{Child: token.Child{Audience: mail, ClientID: client}, Scope: parent.Scope(), Lifetime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	spec := toolCall(t)
	spec.Audience = mail
	call, err := m.Call(parent, spec)
	if err != nil {
		t.Fatal(err)
	}
	spec.Scope = token.SessionScope()
	session, err := m.Call(parent, spec)
	if err != nil {
		t.Fatal(err)
	}
	sessionOfAClient := edit(t, wireText(t, session.Bearer()), `"iss"`, `"ancestors":["a"],"iss"`)
	kinds := map[string]string{"access token": forge(goodHeader, goodAccess, es256(ec)), "delegated access token": delegated, "tool token": tool, "call token": call.Bearer(),
		"session token": session.Bearer(), "session token with ancestors": forge(goodHeader, sessionOfAClient, es256(ec))}
	takers := map[string][]string{"ParseAccess": {"access token", "delegated access token"}, "ParseSubject": {"access token", "delegated access token"},
		"ParseTool": {"tool token"}, "ParseCall": {"call token", "session token"}}
	v := newVerifier(&now)
	for kind, raw := range kinds {
		_, err1 := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{})
		_, err2 := v.ParseSubject(t.Context(), raw, token.Confirmation{})
		_, err3 := v.ParseTool(t.Context(), raw, mail, token.Confirmation{})
		_, err4 := v.ParseCall(t.Context(), raw, mail)
		for parser, err := range map[string]error{"ParseAccess": err1, "ParseSubject": err2, "ParseTool": err3, "ParseCall": err4} {
			takes := slices.Contains(takers[parser], kind)
			if takes != (err == nil) || !takes && !errors.Is(err, token.ErrType) {
				t.Errorf("%s of a %s = %v", parser, kind, err)
			}
		}
	}
}

// TestAdoptTakesNothingOfOurs, nor what no verifier would take.
func TestAdoptTakesNothingOfOurs(t *testing.T) {
	alice, _ := identity.ParseSubject("partner|alice")
	good := token.Foreign{Issuer: "https://partner.example", ID: "j", Subject: alice, ClientID: identity.MustClientID("app"), IssuedAt: now, Expiry: now.Add(time.Minute)}
	m := newMinter(&now, ecSigner())
	if a, err := m.Adopt(good); err != nil || a.Subject() != alice || a.Txn() == "" || a.Actors().Issuer != good.Issuer {
		t.Errorf("Adopt = %v, %v", a, err)
	}
	for name, edit := range map[string]func(*token.Foreign){
		"of ours":          func(f *token.Foreign) { f.Issuer = issuer },
		"of nobody":        func(f *token.Foreign) { f.Subject = identity.Subject{} },
		"to nobody":        func(f *token.Foreign) { f.ClientID = identity.ClientID{} },
		"without jti":      func(f *token.Foreign) { f.ID = "" },
		"too deep":         func(f *token.Foreign) { f.Act = chainOf(9) },
		"by nobody":        func(f *token.Foreign) { f.Act = &token.Actor{Issuer: good.Issuer} },
		"with odd claims":  func(f *token.Foreign) { f.Claims = map[string]any{"a": map[string]any{}} },
		"in a large chain": func(f *token.Foreign) { f.Act = chainOf(8); f.Act.Issuer = strings.Repeat("i", 4000) },
	} {
		f := good
		edit(&f)
		if a, err := m.Adopt(f); err == nil || a.ID() != "" {
			t.Errorf("%s: Adopt = %v, %v", name, a, err)
		}
	}
}

// wireText is the claims of a token, as they are written.
func wireText(t *testing.T, raw string) string {
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func chainOf(n int) (a *token.Actor) {
	for range n {
		a = &token.Actor{Issuer: "https://partner.example", ClientID: identity.MustClientID("x"), Act: a}
	}
	return a
}
