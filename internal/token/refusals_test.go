package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

// refused checks that a token is refused as an access token, for that reason.
func refused(t *testing.T, raw string, want error) {
	t.Helper()
	_, err := newVerifier(&now).ParseAccess(t.Context(), raw, mail, token.Confirmation{})
	if !errors.Is(err, want) {
		t.Errorf("ParseAccess = %v, want %v", err, want)
	}
}

// TestForgedHeadersAreRefused: each is signed with the right key, so that only
// the header tells it from a token of ours.
func TestForgedHeadersAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		header string
		want   error
	}{
		{"alg none", `{"alg":"none","kid":"ec","typ":"at+jwt"}`, token.ErrSignature},
		{"alg NoNe", `{"alg":"NoNe","kid":"ec","typ":"at+jwt"}`, token.ErrSignature},
		{"alg empty", `{"alg":"","kid":"ec","typ":"at+jwt"}`, token.ErrSignature},
		{"alg missing", `{"kid":"ec","typ":"at+jwt"}`, token.ErrSignature},
		{"alg a number", `{"alg":256,"kid":"ec","typ":"at+jwt"}`, token.ErrMalformed},
		{"alg a list", `{"alg":["ES256"],"kid":"ec","typ":"at+jwt"}`, token.ErrMalformed},
		{"alg in lower case", `{"alg":"es256","kid":"ec","typ":"at+jwt"}`, token.ErrSignature},
		{"alg ES384", `{"alg":"ES384","kid":"ec","typ":"at+jwt"}`, token.ErrSignature},
		{"alg RS256", `{"alg":"RS256","kid":"ec","typ":"at+jwt"}`, token.ErrSignature},
		{"alg EdDSA with the kid of an ES256 key", `{"alg":"EdDSA","kid":"ec","typ":"at+jwt"}`, token.ErrSignature},
		{"alg ES256 with the kid of an EdDSA key", `{"alg":"ES256","kid":"ed","typ":"at+jwt"}`, token.ErrSignature},
		{"alg of the key, but the key is kept for another", `{"alg":"ES256","kid":"mislabelled","typ":"at+jwt"}`, token.ErrSignature},
		{"kid unknown", `{"alg":"ES256","kid":"ec2","typ":"at+jwt"}`, token.ErrUnknownKey},
		{"kid a path", `{"alg":"ES256","kid":"../../ec","typ":"at+jwt"}`, token.ErrUnknownKey},
		{"kid with NUL", `{"alg":"ES256","kid":"ec\u0000","typ":"at+jwt"}`, token.ErrUnknownKey},
		{"kid missing", `{"alg":"ES256","typ":"at+jwt"}`, token.ErrUnknownKey},
		{"kid null", `{"alg":"ES256","kid":null,"typ":"at+jwt"}`, token.ErrUnknownKey},
		{"typ missing", `{"alg":"ES256","kid":"ec"}`, token.ErrType},
		{"typ empty", `{"alg":"ES256","kid":"ec","typ":""}`, token.ErrType},
		{"typ JWT, of an ID token", `{"alg":"ES256","kid":"ec","typ":"JWT"}`, token.ErrType},
		{"typ with the prefix that RFC 7515 §4.1.9 leaves out", `{"alg":"ES256","kid":"ec","typ":"application/at+jwt"}`, token.ErrType},
		{"typ in upper case", `{"alg":"ES256","kid":"ec","typ":"AT+JWT"}`, token.ErrType},
		{"typ of a DPoP proof", `{"alg":"ES256","kid":"ec","typ":"dpop+jwt"}`, token.ErrType},
		{"crit", `{"alg":"ES256","kid":"ec","typ":"at+jwt","crit":["exp"]}`, token.ErrMalformed},
		{"crit empty", `{"alg":"ES256","kid":"ec","typ":"at+jwt","crit":[]}`, token.ErrMalformed},
		{"jku", `{"alg":"ES256","kid":"ec","typ":"at+jwt","jku":"https://evil.example/jwks"}`, token.ErrMalformed},
		{"x5u", `{"alg":"ES256","kid":"ec","typ":"at+jwt","x5u":"https://evil.example/x"}`, token.ErrMalformed},
		{"jwk", `{"alg":"ES256","kid":"ec","typ":"at+jwt","jwk":{"kty":"EC","crv":"P-256","x":"","y":""}}`, token.ErrMalformed},
		{"x5c", `{"alg":"ES256","kid":"ec","typ":"at+jwt","x5c":[]}`, token.ErrMalformed},
		{"b64 false", `{"alg":"ES256","kid":"ec","typ":"at+jwt","b64":false,"crit":["b64"]}`, token.ErrMalformed},
		{"zip", `{"alg":"ES256","kid":"ec","typ":"at+jwt","zip":"DEF"}`, token.ErrMalformed},
		{"cty of a nested token", `{"alg":"ES256","kid":"ec","typ":"at+jwt","cty":"JWT"}`, token.ErrMalformed},
		{"member of another case", `{"alg":"ES256","kid":"ec","typ":"at+jwt","Alg":"none"}`, token.ErrMalformed},
		{"alg twice", `{"alg":"ES256","alg":"ES256","kid":"ec","typ":"at+jwt"}`, token.ErrMalformed},
		{"bad UTF-8", "{\"alg\":\"ES256\",\"kid\":\"ec\xff\",\"typ\":\"at+jwt\"}", token.ErrMalformed},
		{"byte order mark", "\ufeff" + goodHeader, token.ErrMalformed},
		{"two objects", goodHeader + goodHeader, token.ErrMalformed},
		{"an array", `[` + goodHeader + `]`, token.ErrMalformed},
		{"null", `null`, token.ErrType},
		{"no JSON", `alg`, token.ErrMalformed},
	}
	refused(t, forge(goodHeader, goodAccess, es256(ec)), nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refused(t, forge(tt.header, goodAccess, es256(ec)), tt.want) })
	}
}

func TestForgedSignaturesAreRefused(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	point, err := ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(secret []byte) func([]byte) []byte {
		return func(input []byte) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write(input)
			return m.Sum(nil)
		}
	}
	constant := func(b []byte) func([]byte) []byte { return func([]byte) []byte { return b } }
	hmacHeader, n := edit(t, goodHeader, "ES256", "HS256"), elliptic.P256().Params().N.Bytes()
	tests := []struct {
		name   string
		header string
		sign   func([]byte) []byte
	}{
		{"of another key", goodHeader, es256(foreign)},
		{"unsigned", edit(t, goodHeader, "ES256", "none"), constant(nil)},
		{"missing", goodHeader, constant(nil)},
		{"HS256 with the public key as PEM", hmacHeader, hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
		{"HS256 with the public key as DER", hmacHeader, hs256(der)},
		{"HS256 with the public point", hmacHeader, hs256(point)},
		{"HS256 with no secret", hmacHeader, hs256(nil)},
		{"zero r and s (CVE-2022-21449)", goodHeader, constant(make([]byte, 64))},
		{"r and s the order of the curve", goodHeader, constant(append(n, n...))},
		{"63 bytes", goodHeader, func(b []byte) []byte { return es256(ec)(b)[:63] }},
		{"65 bytes", goodHeader, func(b []byte) []byte { return append(es256(ec)(b), 0) }},
		{"ASN.1 rather than r and s", goodHeader, func(b []byte) []byte {
			sum := sha256.Sum256(b)
			sig, _ := ec.Sign(nil, sum[:], nil)
			return sig
		}},
		{"of the other payload", goodHeader, func([]byte) []byte {
			return es256(ec)([]byte(b64([]byte(goodHeader)) + "." + b64([]byte(goodCall))))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refused(t, forge(tt.header, goodAccess, tt.sign), token.ErrSignature) })
	}
}

// TestKeySetCannotWidenTheAlgorithms: a key of any other algorithm verifies
// nothing, even where the key set offers it.
func TestKeySetCannotWidenTheAlgorithms(t *testing.T) {
	secret := []byte("a shared secret of thirty-two byt")
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign384 := func(input []byte) []byte {
		sum := sha512.Sum384(input)
		r, s, err := ecdsa.Sign(rand.Reader, p384, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...)
	}
	hs256 := func(input []byte) []byte {
		m := hmac.New(sha256.New, secret)
		m.Write(input)
		return m.Sum(nil)
	}
	for alg, tt := range map[string]struct {
		key  any
		sign func([]byte) []byte
	}{"HS256": {secret, hs256}, "ES384": {p384.Public(), sign384}, "none": {nil, func([]byte) []byte { return nil }}} {
		keys := keySet{map[string]token.PublicKey{"ec": {Algorithm: alg, Key: tt.key}}, token.ErrUnknownKey}
		v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: keys, Now: func() time.Time { return now }})
		if _, err := v.ParseAccess(t.Context(), forge(edit(t, goodHeader, "ES256", alg), goodAccess, tt.sign), mail, token.Confirmation{}); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: ParseAccess = %v, want %v", alg, err, token.ErrMalformed)
		}
	}
}

// TestTwinSignatureSaysTheSame: (r, n-s) verifies wherever (r, s) does. That is
// why nothing may count tokens by their text.
func TestTwinSignatureSaysTheSame(t *testing.T) {
	twin := forge(goodHeader, goodAccess, func(b []byte) []byte {
		sig := es256(ec)(b)
		s := new(big.Int).SetBytes(sig[32:])
		s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
		return sig
	})
	a, err := newVerifier(&now).ParseAccess(t.Context(), twin, mail, token.Confirmation{})
	if err != nil || a.ID() != "j1" {
		t.Errorf("ParseAccess = %q, %v, want the same jti", a.ID(), err)
	}
}

// TestOtherSpellingsAreRefused: one signature has one spelling.
func TestOtherSpellingsAreRefused(t *testing.T) {
	good := forge(goodHeader, goodAccess, es256(ec))
	for !strings.ContainsAny(good[strings.LastIndex(good, "."):], "-_") {
		good = forge(goodHeader, goodAccess, es256(ec))
	}
	p := strings.Split(good, ".")
	tests := []struct {
		name string
		raw  string
	}{
		{"nothing", ""},
		{"one dot", "."},
		{"two dots", ".."},
		{"two parts", p[0] + "." + p[1]},
		{"four parts", good + "."},
		{"five parts, a JWE", good + "." + p[1] + "." + p[2]},
		{"JSON serialization", `{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`},
		{"without a header", "." + p[1] + "." + p[2]},
		{"padding", good + "=="},
		{"the alphabet of base64", p[0] + "." + p[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(p[2])},
		{"spare bits of the signature", p[0] + "." + p[1] + "." + spareBit(p[2])},
		{"newline at the end", good + "\n"},
		{"newline in the header", p[0][:4] + "\n" + p[0][4:] + "." + p[1] + "." + p[2]},
		{"carriage return in the signature", p[0] + "." + p[1] + "." + p[2][:4] + "\r" + p[2][4:]},
		{"space before", " " + good},
		{"space after", good + " "},
		{"scheme before", "Bearer " + good},
		{"NUL after", good + "\x00"},
		{"bad UTF-8 after", good + "\xff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refused(t, tt.raw, token.ErrMalformed) })
	}
	t.Run("without a payload", func(t *testing.T) { refused(t, p[0]+".."+p[2], token.ErrSignature) })
}

// spareBit sets the last bit of a last character, of which base64url reads only
// some: a lenient decoder sees no difference.
func spareBit(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + string(alphabet[last^1])
}

func TestTokenOver8KiBIsRefused(t *testing.T) {
	padded := func(n int) string {
		return forge(goodHeader, edit(t, goodAccess, `"txn"`, `"pad":"`+strings.Repeat("a", n)+`","txn"`), es256(ec))
	}
	refused(t, padded(5500), nil)
	refused(t, padded(6200), token.ErrMalformed)
}

// TestUnreachableKeysAreNoVerdict: a key set that cannot tell refuses, with an
// error that is none of the reasons.
func TestUnreachableKeysAreNoVerdict(t *testing.T) {
	down := errors.New("connection refused")
	v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: keySet{err: down}, Now: nil})
	_, err := v.ParseAccess(t.Context(), forge(goodHeader, goodAccess, es256(ec)), mail, token.Confirmation{})
	if !errors.Is(err, down) || errors.Is(err, token.ErrSignature) || errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("ParseAccess = %v, want %v alone", err, down)
	}
}
