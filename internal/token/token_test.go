package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	issuer   = "https://as.example"
	mail     = "https://as.example/mcp/mail"
	upstream = "http://127.0.0.1:9000/mcp"

	goodHeader = `{"alg":"ES256","kid":"ec","typ":"at+jwt"}`
	goodAccess = `{"iss":"https://as.example","sub":"alice","aud":"https://as.example/mcp/mail","client_id":"C","scope":"mcp:tools",` +
		`"jti":"j1","iat":900,"exp":1300,"txn":"grant-1"}`
	goodCall = `{"iss":"https://as.example","sub":"alice","aud":"https://as.example/mcp/mail","client_id":"gateway","scope":"tool:read_message",` +
		`"jti":"j2","iat":990,"exp":1050,"txn":"grant-1","act":{"iss":"https://as.example","sub":"C","client_id":"C"},` +
		`"authorization_details":[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments_digest":"abc"}]}`
)

// now is the second at which the tokens above are looked at.
var now = time.Unix(1000, 0)

// The keys of these tests; foreign is in no key set.
var (
	ec, foreign *ecdsa.PrivateKey
	ed          ed25519.PrivateKey
)

func TestMain(m *testing.M) {
	ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	foreign, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, _ = ed25519.GenerateKey(rand.Reader)
	os.Exit(m.Run())
}

// keySet is a token.KeySet; an error in it is answered for every unknown key.
type keySet struct {
	keys map[string]token.PublicKey
	err  error
}

func (s keySet) Key(_ context.Context, kid string) (token.PublicKey, error) {
	if k, ok := s.keys[kid]; ok {
		return k, nil
	}
	return token.PublicKey{}, s.err
}

func testKeys() keySet {
	return keySet{map[string]token.PublicKey{
		"ec": {Algorithm: "ES256", Key: ec.Public()}, "ed": {Algorithm: "EdDSA", Key: ed.Public()}, "mislabelled": {Algorithm: "EdDSA", Key: ec.Public()},
	}, token.ErrUnknownKey}
}

// newVerifier looks at the clock each time.
func newVerifier(clock *time.Time) *token.Verifier {
	return token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: testKeys(), Now: func() time.Time { return *clock }})
}

// signer is a token.Signer.
type signer token.SigningKey

func (s signer) SigningKey() token.SigningKey { return token.SigningKey(s) }

func ecSigner() signer { return signer{KeyID: "ec", Algorithm: "ES256", Key: ec} }

func newMinter(clock *time.Time, s token.Signer) *token.Minter {
	return token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: s, Now: func() time.Time { return *clock }})
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// es256 signs a JWS as RFC 7518 §3.4 has it.
func es256(k *ecdsa.PrivateKey) func(input []byte) []byte {
	return func(input []byte) []byte {
		sum := sha256.Sum256(input)
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

// forge makes a JWS of any header and payload.
func forge(header, payload string, sign func(input []byte) []byte) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	return input + "." + b64(sign([]byte(input)))
}

// edit replaces old, which must occur, in a header or in claims.
func edit(t testing.TB, s, old, new string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("%s has no %s", s, old)
	}
	return strings.Replace(s, old, new, 1)
}

func scope(t testing.TB, s string) token.Scope {
	t.Helper()
	v, err := token.ParseScope(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func subject(t testing.TB, s string) identity.Subject {
	t.Helper()
	v, err := identity.ParseSubject(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func toolScope(t testing.TB, name string) token.CallScope {
	t.Helper()
	v, err := token.ToolScope(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// accessOf verifies forged claims of an access token.
func accessOf(t testing.TB, claims string) token.Access {
	t.Helper()
	a, err := newVerifier(&now).ParseAccess(t.Context(), forge(goodHeader, claims, es256(ec)), mail, token.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// toolCall is a spec for read_message of the upstream.
func toolCall(t testing.TB) token.CallSpec {
	return token.CallSpec{Audience: upstream, Presenter: identity.MustClientID("gateway"), Scope: toolScope(t, "read_message"),
		Details: token.Details{Server: "mail", ArgumentsDigest: "abc", DefinitionDigest: "def", PolicyDigest: "pol"}}
}
