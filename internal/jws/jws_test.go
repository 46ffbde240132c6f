package jws_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/needed"
)

// signed is a JWT of typ JWT by a new key, and a set with the public half.
func signed(t testing.TB, claims string) (string, jws.Set) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	object, err := signer.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	b, err := stdjson.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := jws.ParseSet(b)
	if err != nil {
		t.Fatal(err)
	}
	return raw, set
}

func TestSignedTokenVerifiesByItsKeyOnly(t *testing.T) {
	raw, set := signed(t, `{"sub":"a"}`)
	_, others := signed(t, `{}`)
	var c struct {
		Subject string `json:"sub"`
	}
	token, err := jws.Parse(raw, &c, "JWT")
	if err != nil || c.Subject != "a" || token.KeyID != "1" || token.Algorithm != "ES256" {
		t.Fatalf("Parse = %+v, %v, claims %+v", token, err, c)
	}
	if err := token.Verify(set.Verifying("ES256", "1")); err != nil {
		t.Error(err)
	}
	for name, keys := range map[string][]jws.PublicKey{"another's key": others.Verifying("ES256", "1"), "no key": nil, "a key for another algorithm": set.Verifying("RS256", "1"),
		"a key of another kid": set.Verifying("ES256", "2")} {
		if err := token.Verify(keys); !errors.Is(err, jws.ErrSignature) {
			t.Errorf("%s: Verify = %v, want %v", name, err, jws.ErrSignature)
		}
	}
	if _, err := jws.Parse(raw, &c, "at+jwt", ""); err == nil {
		t.Error("a token of typ JWT was read as at+jwt")
	}
	if _, err := jws.ParseWithKey(raw, &c, "JWT"); err == nil {
		t.Error("a token that brings no key was read as one that does")
	}
}

// TestHugeTokenIsNotParsed: before anything of it is decoded, and whatever door takes
// it; a long one is.
func TestHugeTokenIsNotParsed(t *testing.T) {
	var c jsontext.Value
	for size, ok := range map[int]bool{5000: true, 9000: false} {
		raw, _ := signed(t, `{"x":"`+strings.Repeat("a", size)+`"}`)
		if _, err := jws.Parse(raw, &c, "JWT"); (err == nil) != ok {
			t.Errorf("a token of %d bytes: %v", len(raw), err)
		}
	}
}

// TestWithoutKidOnlyAFewKeysAreTried: each costs a signature check.
func TestWithoutKidOnlyAFewKeysAreTried(t *testing.T) {
	var keys []jose.JSONWebKey
	for i := range 12 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, jose.JSONWebKey{Key: key.Public(), KeyID: fmt.Sprint(i)})
	}
	b, err := stdjson.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	set, err := jws.ParseSet(b)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(set.Verifying("ES256", "")); n != 4 {
		t.Errorf("%d keys would be tried", n)
	}
}

// TestWycheproofSignatures runs what is signed by algorithms of ours, in the form of a
// JWT, against the signature check alone: each is as the vector says. (typ, and claims
// that are no JSON object, are for Parse to refuse.) The vectors are not part of this
// repository.
func TestWycheproofSignatures(t *testing.T) {
	b, ok := needed.Vectors(t, "wycheproof_json_web_signature.json")
	if !ok {
		t.SkipNow()
	}
	var v struct {
		Groups []struct {
			Comment string
			Public  stdjson.RawMessage
			Tests   []struct {
				ID     int `json:"tcId"`
				JWS    any
				Result string
			}
		} `json:"testGroups"`
	}
	if err := stdjson.Unmarshal(b, &v); err != nil {
		t.Fatalf("vectors: %v", err)
	}
	checked, valid := 0, 0
	for _, g := range v.Groups {
		set, err := jws.ParseSet(fmt.Appendf(nil, `{"keys":[%s]}`, g.Public))
		if err != nil {
			continue // a key for algorithms that are none of ours
		}
		for _, tt := range g.Tests {
			raw, ok := tt.JWS.(string)
			if !ok {
				continue
			}
			checked++
			var c jsontext.Value
			token, err := jws.Parse(raw, &c, "", "JWT")
			if err == nil {
				err = token.Verify(set.Verifying(token.Algorithm, token.KeyID))
			}
			if err == nil {
				valid++
			}
			if err == nil && tt.Result != "valid" {
				t.Errorf("%s %d: accepted", g.Comment, tt.ID)
			}
		}
	}
	if t.Logf("%d vectors, %d verified", checked, valid); checked < 100 {
		t.Errorf("%d vectors", checked)
	}
}

// FuzzParse: what is read has one spelling, a known algorithm and one of the types.
func FuzzParse(f *testing.F) {
	raw, _ := signed(f, `{"sub":"a"}`)
	f.Add(raw)
	f.Add("a.b.c")
	f.Add(strings.Repeat(".", 4))
	f.Fuzz(func(t *testing.T, raw string) {
		var c jsontext.Value
		token, err := jws.Parse(raw, &c, "JWT")
		if err != nil {
			return
		}
		parts := strings.Split(raw, ".")
		for _, p := range parts {
			if b, err := base64.RawURLEncoding.DecodeString(p); err != nil || base64.RawURLEncoding.EncodeToString(b) != p {
				t.Errorf("part %q has another spelling", p)
			}
		}
		if len(parts) != 3 || token.Type != "JWT" || !slices.Contains(jws.Algs(), token.Algorithm) || token.Key != nil {
			t.Errorf("Parse(%q) = %+v", raw, token)
		}
	})
}

// FuzzParseSet: every key of a set that is read can be asked for by its kid.
func FuzzParseSet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"1"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := jws.ParseSet(b)
		if err == nil && len(set) == 0 {
			t.Errorf("ParseSet(%q) is empty, and no error", b)
		}
	})
}
