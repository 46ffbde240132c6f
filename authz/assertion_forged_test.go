package authz_test

import (
	"cmp"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// TestForgedClientAssertion: none of these is the client, all are refused alike, and
// none spends the jti of the real one.
func TestForgedClientAssertion(t *testing.T) {
	w := newWorld(t)
	w.static("real")
	w.static("other", func(c *authz.Client) { c.JWKS = jwks(jwkOf(testKeys()["other"].Public(), object{"kid": "k1"})) })
	w.static("rsa", func(c *authz.Client) { c.JWKS = jwks(jwkOf(testKeys()["RS256"].Public(), object{"kid": "k1"})) })
	w.static("listed", func(c *authz.Client) { c.AssertionAudience = w.url + "/oauth2/token" })
	w.static("ps256-only", func(c *authz.Client) {
		c.SigningAlg, c.JWKS = "PS256", jwks(jwkOf(testKeys()["RS256"].Public(), object{"kid": "k1"}))
	})
	w.static("jwk-alg", func(c *authz.Client) {
		c.JWKS = jwks(jwkOf(testKeys()["RS256"].Public(), object{"kid": "k1", "alg": "PS256"}))
	})
	noError(t, w.store.InsertClient(t.Context(), authz.Client{ID: identity.MustClientID("registered"), AuthMethod: oauth.AuthPrivateKeyJWT, GrantTypes: []string{grantEcho},
		JWKS: jwks(jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1"})), AssertionAudience: w.url + "/oauth2/token", Created: began}))
	now := w.clock.Now().Unix()
	for name, attack := range forgeries(t, w.url, now) {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			claims := w.claims(cmp.Or(attack.client, "real"))
			w.wantRefused(w.assert(attack.forge(claims), attack.change))
			if attack.client == "" { // the real one, afterwards
				w.wantOK(w.assert(es256(t, claims)))
			}
		})
	}
}

type forgery struct {
	client string // whose claims; empty: real
	forge  func(claims object) string
	change change
}

func forgeries(t testing.TB, issuer string, now int64) map[string]forgery {
	all := map[string]forgery{}
	add := func(name string, forge func(c object) string) { all[name] = forgery{forge: forge} }
	claim := func(name, claim string, value any) {
		add(name, func(c object) string {
			c = maps.Clone(c)
			c[claim] = value
			maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
			return es256(t, c)
		})
	}
	header := func(name string, h object) { add(name, func(c object) string { return es256(t, c, h) }) }

	for _, alg := range []any{"none", "NoNe", "", nil, 256, []string{"ES256"}, "ES384", "RS512", "es256", "HS256", "Ed25519"} {
		name := "alg " + string(must(json.Marshal(alg))(t))
		header(name, object{"alg": alg})
		add(name+" and no signature", func(c object) string {
			raw := es256(t, c, object{"alg": alg})
			return raw[:strings.LastIndex(raw, ".")+1]
		})
	}
	rsaPublic := testKeys()["RS256"].Public().(*rsa.PublicKey)
	der := must(x509.MarshalPKIXPublicKey(rsaPublic))(t)
	for name, secret := range map[string][]byte{"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "modulus": rsaPublic.N.Bytes(),
		"JWK": must(json.Marshal(jwkOf(rsaPublic, nil)))(t), "empty": nil} {
		all["HS256 with the public key, "+name] = forgery{client: "rsa", forge: func(c object) string {
			input := b64(must(json.Marshal(object{"alg": "HS256", "kid": "k1"}))(t)) + "." + b64(must(json.Marshal(c))(t))
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			return input + "." + b64(mac.Sum(nil))
		}}
	}
	rs := func(signed, said string) func(object) string {
		return func(c object) string {
			input := b64(must(json.Marshal(object{"alg": said, "kid": "k1"}))(t)) + "." + b64(must(json.Marshal(c))(t))
			return input + "." + b64(signature(t, testKeys()["RS256"], signed, input))
		}
	}
	all["RS256 where the client registered PS256"] = forgery{client: "ps256-only", forge: rs("RS256", "RS256")}
	all["RS256 where the key is for PS256"] = forgery{client: "jwk-alg", forge: rs("RS256", "RS256")}
	all["PS256 under an RS256 header"] = forgery{client: "rsa", forge: rs("PS256", "RS256")}
	all["ES256 for an RSA key"] = forgery{client: "rsa", forge: func(c object) string { return es256(t, c) }}

	add("signed with another client's key", func(c object) string { return sign(t, testKeys()["other"], object{"alg": "ES256", "kid": "k1"}, c) })
	add("the sender's own key in jwk", func(c object) string {
		return sign(t, testKeys()["other"], object{"alg": "ES256", "kid": "k1", "jwk": jwkOf(testKeys()["other"].Public(), nil)}, c)
	})
	for name, h := range map[string]object{
		"jwk": {"jwk": jwkOf(testKeys()["ES256"].Public(), nil)}, "jku": {"jku": "https://evil.example/jwks"}, "x5u": {"x5u": "https://evil.example/"}, "x5c": {"x5c": []string{selfSigned(t, testKeys()["ES256"], nil).base64()}},
		"crit unknown": {"crit": []string{"x"}, "x": 1}, "crit empty": {"crit": []string{}}, "crit lists b64": {"crit": []string{"b64"}, "b64": true},
		"b64 false": {"b64": false}, "b64 true": {"b64": true}, "zip": {"zip": "DEF"}, "typ of an access token": {"typ": "at+jwt"}, "typ in another case": {"typ": "jwt"}, "typ a number": {"typ": 1},
		"kid unknown": {"kid": "k2"}, "kid a path": {"kid": "../../k1"}, "kid SQL": {"kid": "k1' OR '1'='1"}, "kid with NUL": {"kid": "k1\x00"}, "kid in another case": {"kid": "K1"},
		"kid a number": {"kid": 1}, "kid of 8 KiB": {"kid": strings.Repeat("k", 8<<10)},
	} {
		header("header: "+name, h)
	}
	part := func(name string, n int, f func(string) string) {
		add(name, func(c object) string {
			parts := strings.Split(es256(t, c), ".")
			parts[n] = f(parts[n])
			return strings.Join(parts, ".")
		})
	}
	for i, name := range []string{"header", "payload", "signature"} {
		part("padding after the "+name, i, func(s string) string { return s + "=" })
		part("a newline in the "+name, i, func(s string) string { return s[:4] + "\n" + s[4:] })
		part("a space in the "+name, i, func(s string) string { return s[:4] + " " + s[4:] })
		part("the "+name+" empty", i, func(string) string { return "" })
	}
	part("trailing bits of the signature", 2, func(s string) string { return s[:len(s)-1] + string(nextChar(s[len(s)-1])) })
	add("trailing bits of the payload", func(c object) string {
		c = maps.Clone(c)
		for len(must(json.Marshal(c))(t))%3 == 0 {
			c["pad"] = strings.Repeat("x", len(c))
		}
		parts := strings.Split(es256(t, c), ".")
		p := parts[1]
		parts[1] = p[:len(p)-1] + string(nextChar(p[len(p)-1]))
		return strings.Join(parts, ".") // signed as it should be, sent as it should not
	})
	add("two segments", func(c object) string { raw := es256(t, c); return raw[:strings.LastIndex(raw, ".")] })
	add("four segments", func(c object) string { return es256(t, c) + ".x" })
	add("five segments, as a JWE", func(c object) string { return es256(t, c) + ".x.x" })
	add("a space before", func(c object) string { return " " + es256(t, c) })
	add("flattened JSON", func(c object) string {
		p := strings.Split(es256(t, c), ".")
		return string(must(json.Marshal(object{"protected": p[0], "payload": p[1], "signature": p[2]}))(t))
	})
	add("general JSON", func(c object) string {
		p := strings.Split(es256(t, c), ".")
		return string(must(json.Marshal(object{"payload": p[1], "signatures": []object{{"protected": p[0], "signature": p[2]}}}))(t))
	})
	add("no JWS at all", func(object) string { return "x" })
	add("longer than 8 KiB", func(c object) string {
		c = maps.Clone(c)
		c["pad"] = strings.Repeat("x", 8<<10)
		return es256(t, c)
	})

	text := func(name string, f func(payload []byte) []byte) {
		add(name, func(c object) string { return es256(t, f(must(json.Marshal(c))(t))) })
	}
	insert := func(name, member string) {
		text(name, func(b []byte) []byte { return append([]byte("{"+member+","), b[1:]...) })
		text(name+", at the end", func(b []byte) []byte { return append(b[:len(b)-1], ","+member+"}"...) })
	}
	insert("sub twice", `"sub":"other"`)
	insert("the same sub twice", `"sub":"real"`)
	insert("jti twice", `"jti":"another"`)
	insert("aud twice", `"aud":"https://other.example"`)
	text("names in another case", func(b []byte) []byte {
		return []byte(strings.NewReplacer(`"iss"`, `"ISS"`, `"sub"`, `"Sub"`).Replace(string(b)))
	})
	text("a BOM", func(b []byte) []byte { return append([]byte("\xef\xbb\xbf"), b...) })
	text("bad UTF-8", func(b []byte) []byte { return append([]byte("{\"x\":\"\xff\","), b[1:]...) })
	text("an array", func(b []byte) []byte { return slices.Concat([]byte("["), b, []byte("]")) })
	text("null", func([]byte) []byte { return []byte("null") })
	text("two objects", func(b []byte) []byte { return slices.Concat(b, b) })
	text("exp 1e999", func(b []byte) []byte { return slices.Concat([]byte(`{"exp":1e999,`), b[1:]) })
	add("alg twice in the header", func(c object) string {
		return sign(t, testKeys()["ES256"], []byte(`{"alg":"ES256","alg":"ES256","kid":"k1"}`), c)
	})
	add("names of the header in another case", func(c object) string {
		return sign(t, testKeys()["ES256"], []byte(`{"ALG":"ES256","kid":"k1"}`), c)
	})

	for name, aud := range map[string]any{"a list of two": []string{issuer, "https://other.example"}, "a list of two, both ours": []string{issuer, issuer}, "a list of one": []string{issuer},
		"an empty list": []string{}, "nested": [][]string{{issuer}}, "another AS": "https://other.example", "the token endpoint of an unlisted client": issuer + "/oauth2/token",
		"a trailing slash": issuer + "/", "upper case": strings.ToUpper(issuer), "a number": 1, "an object": object{issuer: 1}, "missing": nil, "empty": ""} {
		claim("aud: "+name, "aud", aud)
	}
	all["aud: a list of two, client listed"] = forgery{client: "listed", forge: func(c object) string {
		c["aud"] = []string{issuer, issuer + "/oauth2/token"}
		return es256(t, c)
	}}
	all["aud: that of others, client listed"] = forgery{client: "listed", forge: func(c object) string {
		c["aud"] = issuer + "/oauth2/par"
		return es256(t, c)
	}}
	all["aud: a client that registered itself lists one"] = forgery{client: "registered", forge: func(c object) string {
		c["aud"] = issuer + "/oauth2/token"
		return es256(t, c)
	}}
	for name, v := range map[string]any{"missing": nil, "past by the skew": now - 60, "a second more than five minutes and the skew ahead": now + 361, "a year ahead": now + 365*86400,
		"the last second there is": int64(1<<63 - 1), "the first": int64(-1 << 63), "a string": "4102444800", "a fraction": float64(now) + 60.5, "negative": -1, "zero": 0, "an array": []int64{now + 60}} {
		claim("exp: "+name, "exp", v)
	}
	for _, name := range []string{"iat", "nbf"} {
		claim(name+": 61 seconds in the future", name, now+61)
		claim(name+": the last second there is", name, int64(1<<63-1))
		claim(name+": a string", name, "1")
	}
	for name, v := range map[string]any{"missing": nil, "empty": "", "of 257 bytes": strings.Repeat("x", 257), "a number": 1} {
		claim("jti: "+name, "jti", v)
	}
	claim("iss of another", "iss", "other")
	claim("iss missing", "iss", nil)
	claim("iss is the issuer", "iss", issuer)
	claim("sub of another", "sub", "other")
	claim("sub unknown", "sub", "nobody")
	claim("sub missing", "sub", nil)
	claim("sub with a space", "sub", " real")
	add("iss and sub of another, signed with one's own key", func(c object) string {
		c = maps.Clone(c)
		c["iss"], c["sub"] = "other", "other"
		return es256(t, c)
	})
	add("iss and sub unknown", func(c object) string {
		c = maps.Clone(c)
		c["iss"], c["sub"] = "nobody", "nobody"
		return es256(t, c)
	})
	all["client_id of another"] = forgery{forge: func(c object) string { return es256(t, c) }, change: change{"client_id": {"other"}}}

	sig := func(name string, s []byte) { part("signature: "+name, 2, func(string) string { return b64(s) }) }
	n := elliptic.P256().Params().N.FillBytes(make([]byte, 32))
	one := append(make([]byte, 31), 1)
	sig("r and s are zero", make([]byte, 64))
	sig("r is one, s is zero", append(one, make([]byte, 32)...))
	sig("r and s are the order", append(slices.Clone(n), n...))
	sig("65 bytes", make([]byte, 65))
	add("signature: DER", func(c object) string {
		raw := es256(t, c)
		i := strings.LastIndex(raw, ".") + 1
		s := must(base64.RawURLEncoding.DecodeString(raw[i:]))(t)
		return raw[:i] + b64(must(asn1.Marshal([]*big.Int{new(big.Int).SetBytes(s[:32]), new(big.Int).SetBytes(s[32:])}))(t))
	})
	part("signature: cut by a byte", 2, func(s string) string {
		b, _ := base64.RawURLEncoding.DecodeString(s)
		return b64(b[:63])
	})
	part("signature: a bit flipped", 2, func(s string) string {
		b, _ := base64.RawURLEncoding.DecodeString(s)
		b[10] ^= 1
		return b64(b)
	})
	return all
}

// nextChar is the base64url character that differs in the last bit, which is spare.
func nextChar(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}
