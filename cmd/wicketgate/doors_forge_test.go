package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-jose/go-jose/v4"
)

// good is a JWT that a door takes: the texts of its header and claims, and its key.
type good struct {
	header, claims string
	key            *ecdsa.PrivateKey
	types          []string // further typ that the door takes
	named          string   // a claim that the door needs
	keyless        bool     // the header brings the key: the door is for proofs of possession
}

var b64 = base64.RawURLEncoding

// signed puts the parts together, with a signature that is right.
func (g good) signed(header, claims string) string {
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	return input + "." + b64.EncodeToString(g.signature(input))
}

func (g good) signature(input string) []byte {
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, g.key, sum[:])
	if err != nil {
		panic(err)
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// attack is a token that no door may take.
type attack struct{ name, raw string }

// forgeries is the list of notes that every door must refuse: what is wrong with
// each, and the token. make gives a new good one each time, because some count once.
func forgeries(t *testing.T, make func() good) (out []attack) {
	t.Helper()
	for _, part := range [][]attack{algorithms(t, make), headers(make), payloads(make), spellings(make), signatures(t, make)} {
		out = append(out, part...)
	}
	return out
}

// replace is g's text with old in it replaced; it must be there.
func replace(text, old, by string) string {
	if !strings.Contains(text, old) {
		panic(old + " is not in " + text)
	}
	return strings.Replace(text, old, by, 1)
}

// algorithms: none, and the public key for the secret of a MAC.
func algorithms(t *testing.T, make func() good) (out []attack) {
	for _, alg := range []string{`"none"`, `"NoNe"`, `"NONE"`, `""`, `0`, `["ES256"]`, `null`, `"ES384"`, `"RS256"`, `"PS256"`, `"EdDSA"`, `"es256"`, `"ES256 "`} {
		g := make()
		header := replace(g.header, `"ES256"`, alg)
		input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(g.claims))
		out = append(out, attack{"alg " + alg + ", unsigned", input + "."}, attack{"alg " + alg, input + "." + b64.EncodeToString(g.signature(input))})
	}
	g := make()
	out = append(out, attack{"alg missing", g.signed(replace(g.header, `"alg":"ES256",`, ``), g.claims)})
	der, err := x509.MarshalPKIXPublicKey(g.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := (&jose.JSONWebKey{Key: g.key.Public()}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	point, err := g.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "JWK": jwk, "point": point, "nothing": nil} {
		input := b64.EncodeToString([]byte(replace(g.header, `"ES256"`, `"HS256"`))) + "." + b64.EncodeToString([]byte(g.claims))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		out = append(out, attack{"HS256 with the public key as " + name, input + "." + b64.EncodeToString(mac.Sum(nil))})
	}
	return out
}

// headers that name a key to trust, change what is signed, or are of another kind.
func headers(make func() good) (out []attack) {
	add := func(name, member string) {
		g := make()
		out = append(out, attack{name, g.signed(replace(g.header, `{`, `{`+member+`,`), g.claims)})
	}
	add("jku", `"jku":"https://evil.example/keys"`)
	add("x5u", `"x5u":"https://evil.example/cert"`)
	add("x5c", `"x5c":["MIIB"]`)
	add("crit", `"crit":["exp"]`)
	add("crit, empty", `"crit":[]`)
	add("crit b64", `"crit":["b64"],"b64":false`)
	add("b64 false", `"b64":false`)
	add("zip", `"zip":"DEF"`)
	add("alg twice", `"alg":"none"`)
	add("typ twice", `"typ":"x","typ":"y"`)
	g := make()
	if jwk, err := (&jose.JSONWebKey{Key: g.key.Public()}).MarshalJSON(); err == nil && !g.keyless {
		add("jwk", `"jwk":`+string(jwk))
	}
	if !g.keyless {
		for name, kid := range map[string]string{"a path": `../../etc/passwd`, "SQL": `' OR 1=1 --`, "NUL": `\u0000`, "long": strings.Repeat("k", 64<<10), "of nobody": "nobody"} {
			g := make()
			header := g.header[:strings.Index(g.header, `"kid":"`)] + `"kid":"` + kid + g.header[strings.Index(g.header, `","typ"`):]
			out = append(out, attack{"kid " + name, g.signed(header, g.claims)})
		}
	}
	return append(out, types(make)...)
}

// types are those of other doors, and misspelled ones.
func types(make func() good) (out []attack) {
	g := make()
	typ := g.header[strings.Index(g.header, `"typ":"`)+7:]
	typ = typ[:strings.Index(typ, `"`)]
	for _, other := range []string{"at+jwt", "application/at+jwt", "AT+JWT", "JWT", "jwt", "dpop+jwt", "DPoP+jwt", "oauth-id-jag+jwt", "client-authentication+jwt", "refresh+jwt",
		"txntoken+jwt", "logout+jwt", "secevent+jwt", "JOSE", "", typ + " "} {
		if other == typ || slices.Contains(g.types, other) {
			continue
		}
		g := make()
		out = append(out, attack{"typ " + other, g.signed(replace(g.header, `"typ":"`+typ+`"`, `"typ":"`+other+`"`), g.claims)})
	}
	for _, odd := range []string{`7`, `["` + typ + `"]`, `{}`} {
		g := make()
		out = append(out, attack{"typ " + odd, g.signed(replace(g.header, `"typ":"`+typ+`"`, `"typ":`+odd), g.claims)})
	}
	return out
}

// payloads that parsers read in two ways, or whose times and names are none.
func payloads(make func() good) (out []attack) {
	add := func(name string, edit func(string) string) {
		g := make()
		out = append(out, attack{name, g.signed(g.header, edit(g.claims))})
	}
	with := func(member string) func(string) string {
		return func(c string) string { return replace(c, `{`, `{`+member+`,`) }
	}
	set := func(value string) func(string) string {
		return func(c string) string {
			i := strings.Index(c, `"iat":`)
			j := i + strings.IndexAny(c[i:], ",}")
			return c[:i] + `"iat":` + value + c[j:]
		}
	}
	add("a claim twice", with(`"jti":"other"`))
	add("a claim twice, escaped", with(`"jt\u0069":"other"`))
	add("a claim in another case", func(c string) string {
		name := make().named
		return replace(c, `"`+name+`"`, `"`+strings.ToUpper(name)+`"`)
	})
	for name, v := range map[string]string{"text": `"1"`, "1e999": `1e999`, "an object": `{}`, "true": `true`, "far ahead": fmt.Sprint(time.Now().Add(time.Hour).Unix()), "a fraction": `1.5`} {
		add("iat "+name, set(v))
	}
	add("NaN", set("NaN"))
	add("a list for the claims", func(c string) string { return "[" + c + "]" })
	add("text for the claims", func(string) string { return `"claims"` })
	add("no claims", func(string) string { return `{}` })
	add("null for the claims", func(string) string { return `null` })
	add("nothing for the claims", func(string) string { return `` })
	add("more after the claims", func(c string) string { return c + "{}" })
	add("a byte order mark", func(c string) string { return "\ufeff" + c })
	add("bad UTF-8", with("\"x\":\"\xff\""))
	add("UTF-16", func(c string) string {
		var b []byte
		for _, u := range utf16.Encode([]rune(c)) {
			b = append(b, byte(u>>8), byte(u))
		}
		return string(b)
	})
	add("10,000 levels", with(`"deep":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)))
	add("10,000 claims", with(strings.TrimSuffix(strings.Repeat(`"c":0,`, 10_000), ",")))
	add("a megabyte", with(`"x":"`+strings.Repeat("a", 1<<20)+`"`))
	return out
}

// spellings of the same token, and other serializations.
func spellings(make func() good) (out []attack) {
	add := func(name string, edit func(parts []string) string) {
		g := make()
		out = append(out, attack{name, edit(strings.Split(g.signed(g.header, g.claims), "."))})
	}
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	add("two parts", func(p []string) string { return join(p[0], p[1]) })
	add("four parts", func(p []string) string { return join(p[0], p[1], p[2], p[2]) })
	add("five parts, as a JWE", func(p []string) string { return join(p[0], "", p[1], p[2], p[2]) })
	add("six parts", func(p []string) string { return join(p[0], p[1], p[2], "", "", "") })
	add("in JSON", func(p []string) string {
		return `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`
	})
	add("padded", func(p []string) string { return join(p[0], p[1], p[2]+"==") })
	add("the payload padded", func(p []string) string { return join(p[0], p[1]+strings.Repeat("=", (4-len(p[1])%4)%4+4), p[2]) })
	add("a space within", func(p []string) string { return join(p[0], p[1], p[2][:10]+" "+p[2][10:]) })
	add("a line break within", func(p []string) string { return join(p[0], p[1], p[2][:10]+"\n"+p[2][10:]) })
	add("a carriage return within", func(p []string) string { return join(p[0][:10]+"\r"+p[0][10:], p[1], p[2]) })
	add("base64 of files", func(p []string) string { return join(p[0], p[1], "+/"+p[2][2:]) })
	add("spare bits", func(p []string) string { // 64 bytes leave four bits of the last character
		const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(digits, p[2][len(p[2])-1])
		return join(p[0], p[1], p[2][:len(p[2])-1]+string(digits[last|1]))
	})
	return out
}

// signatures that are none, or of something else.
func signatures(t *testing.T, make func() good) (out []attack) {
	add := func(name string, sign func(g good, input string) []byte) {
		g := make()
		input := b64.EncodeToString([]byte(g.header)) + "." + b64.EncodeToString([]byte(g.claims))
		out = append(out, attack{name, input + "." + b64.EncodeToString(sign(g, input))})
	}
	n := elliptic.P256().Params().N
	number := func(v *big.Int) []byte { return v.FillBytes(bytesOf(32)) }
	zero, one := new(big.Int), big.NewInt(1)
	add("no signature", func(good, string) []byte { return nil })
	add("r = s = 0", func(good, string) []byte { return bytesOf(64) })
	add("r = s = 1", func(good, string) []byte { return slices.Concat(number(one), number(one)) })
	add("r = n", func(good, string) []byte { return slices.Concat(number(n), number(one)) })
	add("s = 0", func(good, string) []byte { return slices.Concat(number(one), number(zero)) })
	add("63 bytes", func(g good, in string) []byte { return g.signature(in)[:63] })
	add("65 bytes", func(g good, in string) []byte { return append(g.signature(in), 0) })
	add("DER", func(g good, in string) []byte {
		raw := g.signature(in)
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
		if err != nil {
			t.Fatal(err)
		}
		return der
	})
	add("of other words", func(g good, in string) []byte { return g.signature(in + ".") })
	add("by another key", func(_ good, in string) []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return good{key: key}.signature(in)
	})
	return out
}

func bytesOf(n int) []byte { return make([]byte, n) }
