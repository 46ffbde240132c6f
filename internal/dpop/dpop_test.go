package dpop_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

func TestProofOfEachKindOfKey(t *testing.T) {
	w := newWorld(t)
	for name, key := range keys() {
		thumbprint, err := w.send(w.sign(key, object{}, w.claims()))
		again, _ := w.send(w.sign(key, object{"jwk": merge(jwkOf(key.Public()), object{"kid": "x", "use": "sig"})}, w.claims()))
		if err != nil || len(thumbprint) != 43 || again != thumbprint {
			t.Errorf("%s: thumbprint %q, then %q, %v", name, thumbprint, again, err)
		}
	}
	if p, err := w.v.Check(w.request("POST"), http.Header{}, "", tokenURL); err != nil || p.Thumbprint != "" || p.Spend(t.Context()) != nil {
		t.Errorf("no proof: %+v, %v", p, err)
	}
}

// TestProofOfTheStandard is the example of RFC 9449 §4.2: all but its nonce is good.
func TestProofOfTheStandard(t *testing.T) {
	const raw = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	w := newWorld(t)
	w.now = time.Unix(1562262616, 0)
	_, err := w.v.Check(w.request("POST", raw), http.Header{}, "", "https://server.example.com/token")
	w.wantRefused(err, oauth.UseDPoPNonce) // all before that is as it should be
}

// TestForgedProof: none of these proves a key.
func TestForgedProof(t *testing.T) {
	w := newWorld(t)
	ec, public := keys()["ES256"], jwkOf(keys()["ES256"].Public())
	for name, raw := range forgeries(w) {
		if _, err := w.send(raw); wire(err) != oauth.InvalidDPoPProof {
			t.Errorf("%s: error %v, want invalid_dpop_proof", name, err)
		}
	}
	good := w.proof()
	_, err := w.send(good, good)
	w.wantRefused(err, oauth.InvalidDPoPProof)
	_, err = w.send(good + ", " + w.proof())
	w.wantRefused(err, oauth.InvalidDPoPProof)
	if len(w.once.spent) != 0 {
		t.Error("a refused proof was spent")
	}
	if _, err := w.send(w.sign(ec, object{"jwk": public}, w.claims())); err != nil { // what they are made of is good
		t.Error(err)
	}
}

func forgeries(w *world) map[string]string {
	t, ec := w.t, keys()["ES256"]
	public := jwkOf(ec.Public())
	all := map[string]string{}
	header := func(name string, h object) { all["header: "+name] = w.sign(ec, h, w.claims()) }
	claim := func(name string, c object) { all["claim: "+name] = w.proof(c) }

	for _, alg := range []any{"none", "NoNe", "", nil, 256, []string{"ES256"}, "ES384", "es256", "HS256", "RS256", "EdDSA"} {
		name := "alg " + string(must(json.Marshal(alg))(t))
		header(name, object{"alg": alg})
		unsigned := all["header: "+name]
		all[name+", unsigned"] = unsigned[:strings.LastIndex(unsigned, ".")+1]
	}
	rsaPublic := keys()["RS256"].Public().(*rsa.PublicKey)
	der := must(x509.MarshalPKIXPublicKey(rsaPublic))(t)
	for name, secret := range map[string][]byte{"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der,
		"JWK": must(json.Marshal(jwkOf(rsaPublic)))(t), "empty": nil} {
		input := b64(must(json.Marshal(object{"typ": "dpop+jwt", "alg": "HS256", "jwk": jwkOf(rsaPublic)}))(t)) + "." + b64(must(json.Marshal(w.claims()))(t))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		all["HS256 with the public key, "+name] = input + "." + b64(mac.Sum(nil))
	}
	for name, jwk := range map[string]any{
		"none": nil, "null": json2("null"), "a string": "x", "a list": []any{public}, "empty": object{}, "another's": jwkOf(keys()["other"].Public()),
		"private": merge(public, object{"d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}), "private, null": merge(public, object{"d": json2("null")}),
		"symmetric": object{"kty": "oct", "k": "AAAA"}, "of another curve": merge(public, object{"crv": "P-384"}), "off the curve": merge(public, object{"y": public["x"]}),
		"a short x": merge(public, object{"x": "AAAA"}), "for encryption": merge(public, object{"use": "enc"}), "for another alg": merge(public, object{"alg": "ES384"}),
		"RSA of 1024 bits": object{"kty": "RSA", "e": "AQAB", "n": b64(append([]byte{0xff}, make([]byte, 127)...))},
	} {
		header("jwk "+name, object{"jwk": jwk})
	}
	modulus := keys()["RS256"]
	all["RS256 by a key for PS256"] = w.sign(modulus, object{"jwk": merge(jwkOf(modulus.Public()), object{"alg": "PS256"})}, w.claims())
	for name, h := range map[string]object{"typ missing": {"typ": nil}, "typ JWT": {"typ": "JWT"}, "typ at+jwt": {"typ": "at+jwt"}, "typ in another case": {"typ": "DPoP+jwt"},
		"typ with application": {"typ": "application/dpop+jwt"}, "typ a list": {"typ": []string{"dpop+jwt"}}, "crit": {"crit": []string{"x"}, "x": 1}, "crit empty": {"crit": []string{}}, "b64 false": {"b64": false, "crit": []string{"b64"}},
		"jku": {"jku": "https://evil.example/"}, "x5c": {"x5c": []string{"AA"}}, "x5u": {"x5u": "https://evil.example/"}, "zip": {"zip": "DEF"}} {
		header(name, h)
	}
	for name, c := range map[string]object{"jti missing": {"jti": nil}, "jti empty": {"jti": ""}, "jti long": {"jti": strings.Repeat("j", 257)}, "jti a number": {"jti": 1},
		"htm missing": {"htm": nil}, "htm of another method": {"htm": "GET"}, "htm in lower case": {"htm": "post"}, "htm a list": {"htm": []string{"POST"}},
		"htu missing": {"htu": nil}, "iat missing": {"iat": nil}, "iat a string": {"iat": "1795253400"}, "iat a fraction": {"iat": 1795253400.5}, "iat huge": {"iat": json2("1e999")},
		"iat negative": {"iat": -1}, "iat the least number": {"iat": json2("-9223372036854775808")}, "iat the largest number": {"iat": json2("9223372036854775807")},
		"iat too old": {"iat": w.now.Unix() - 301}, "iat too new": {"iat": w.now.Unix() + 301}, "huge": {"x": strings.Repeat("x", 9<<10)}} {
		claim(name, c)
	}
	for _, htu := range []string{"https://mcp.example.com/oauth2/token/", "https://mcp.example.com/oauth2/Token", "https://mcp.example.com/oauth2/par", "https://mcp.example.com:8443/oauth2/token",
		"http://mcp.example.com/oauth2/token", "https://mcp.example.com.evil.example/oauth2/token", "https://anything.example/elsewhere", "/oauth2/token", "//mcp.example.com/oauth2/token", "mcp.example.com/oauth2/token",
		"https://x@mcp.example.com/oauth2/token", "https://mcp.example.com/oauth2%2Ftoken", "https://mcp.example.com/oauth2/../oauth2/token", "https://mcp.example.com", "https:mcp.example.com/oauth2/token", " " + tokenURL, ":"} {
		claim("htu "+htu, object{"htu": htu})
	}
	good := w.proof()
	parts := strings.Split(good, ".")
	all["two segments"], all["four segments"], all["five segments"] = parts[0]+"."+parts[1], good+".x", good+".x.y"
	all["padding"], all["a line break"], all["a space"], all["nothing"] = good+"==", good+"\n", good+" ", ""
	all["JSON serialization"] = string(must(json.Marshal(object{"protected": parts[0], "payload": parts[1], "signature": parts[2]}))(t))
	all["the last bits set"] = trailing(good)
	all["another payload"] = parts[0] + "." + b64(must(json.Marshal(w.claims()))(t)) + "." + parts[2]
	h, p := must(json.Marshal(object{"typ": "dpop+jwt", "alg": "ES256", "jwk": public}))(t), string(must(json.Marshal(w.claims()))(t))
	all["a member of the jwk twice"] = seal(t, ec, []byte(strings.Replace(string(h), `"kty":"EC"`, `"kty":"EC","kty":"EC"`, 1)), []byte(p))
	all["a claim twice"] = seal(t, ec, h, []byte(strings.Replace(p, "{", `{"htm":"GET",`, 1)))
	all["a claim in another case"] = seal(t, ec, h, []byte(strings.Replace(p, `"htu"`, `"HTU"`, 1)))
	all["bad UTF-8"] = seal(t, ec, h, []byte(strings.Replace(p, "{", "{\"x\":\"\xff\",", 1)))
	all["a byte order mark"] = seal(t, ec, h, []byte("\ufeff"+p))
	return all
}

// json2 is JSON as it stands.
func json2(s string) raw { return raw(s) }

type raw string

func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// trailing sets the bits that the last character of the signature has too many: the same
// bytes in another spelling.
func trailing(good string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, good[len(good)-1])
	return good[:len(good)-1] + string(alphabet[last|1])
}

// TestKeyUnderWhichAnybodyCanSign: the identity of Ed25519 verifies a signature that is
// no secret.
func TestKeyUnderWhichAnybodyCanSign(t *testing.T) {
	w := newWorld(t)
	identity := append([]byte{1}, make([]byte, 31)...)
	forged := append(append([]byte{}, identity...), make([]byte, 32)...)
	header := must(json.Marshal(object{"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwkOf(ed25519.PublicKey(identity))}))(t)
	input := b64(header) + "." + b64(must(json.Marshal(w.claims()))(t))
	if !ed25519.Verify(identity, []byte(input), forged) {
		t.Fatal("the forgery is none: this test shows nothing")
	}
	_, err := w.send(input + "." + b64(forged))
	w.wantRefused(err, oauth.InvalidDPoPProof)
}

// TestURLOfTheProofIsNormalised: RFC 9449 §4.3 (9), RFC 3986 §6.2.2 and §6.2.3.
func TestURLOfTheProofIsNormalised(t *testing.T) {
	w := newWorld(t)
	for _, htu := range []string{tokenURL + "?a=b", tokenURL + "#c", tokenURL + "?", "HTTPS://MCP.Example.COM/oauth2/token", "https://mcp.example.com:443/oauth2/token"} {
		if _, err := w.send(w.proof(object{"htu": htu})); err != nil {
			t.Errorf("%s: %v", htu, err)
		}
	}
}

// A19.
func TestClockSkewOfFiveMinutes(t *testing.T) {
	w := newWorld(t)
	for _, off := range []int64{-300, 0, 300} {
		if _, err := w.send(w.proof(object{"iat": w.now.Unix() + off})); err != nil {
			t.Errorf("%d seconds off: %v", off, err)
		}
	}
}

func TestProofReplay(t *testing.T) {
	w := newWorld(t)
	name := thumbprint(w) + "\na"
	first := w.proof(object{"jti": "a", "iat": w.now.Unix() + 300})
	if _, err := w.send(first); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := w.send(first)
		w.wantRefused(err, oauth.InvalidDPoPProof)
		w.now = w.now.Add(5 * time.Minute) // as long as its nonce lasts
	}
	if until := w.once.spent[name]; !until.After(began.Add(10 * time.Minute)) {
		t.Errorf("the record ends at %v, while a proof from the future would still be taken", until)
	}
	if _, err := newWorld(t).send(w.sign(keys()["other"], object{}, object{})); err == nil {
		t.Error("an empty proof was taken")
	}
}

// TestOneNameUnderTwoKeys: a stranger cannot spend a client's jti.
func TestOneNameUnderTwoKeys(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"other", "ES256"} {
		if _, err := w.send(w.sign(keys()[name], object{}, merge(w.claims(), object{"jti": "a"}))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func thumbprint(w *world) string {
	p, err := w.v.Check(w.request("POST", w.proof()), http.Header{}, "", tokenURL)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Thumbprint
}

// TestStoreThatIsDownRefusesProofs: it cannot say whether one was used.
func TestStoreThatIsDownRefusesProofs(t *testing.T) {
	w := newWorld(t)
	w.once.broken = errors.New("the store is down")
	if _, err := w.send(w.proof()); !errors.Is(err, w.once.broken) {
		t.Errorf("error %v", err)
	}
}

func TestNonce(t *testing.T) {
	w := newWorld(t)
	foreign := newWorld(t).nonce
	for name, nonce := range map[string]any{"missing": nil, "empty": "", "another server's": foreign, "forged": b64(make([]byte, 36)), "its time in the clear": b64(make([]byte, 8)), "long": strings.Repeat("A", 4096),
		"no base64url": "=" + w.nonce, "padded": w.nonce + "="} {
		_, err := w.send(w.proof(object{"nonce": nonce}))
		if wire(err) != oauth.UseDPoPNonce {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.now = w.now.Add(5 * time.Minute)
	if _, err := w.send(w.proof()); err != nil {
		t.Errorf("after five minutes: %v", err)
	}
	w.now = w.now.Add(time.Second)
	_, err := w.send(w.proof())
	w.wantRefused(err, oauth.UseDPoPNonce)
	w.now = began.Add(-6 * time.Second)
	_, err = w.send(w.proof())
	w.wantRefused(err, oauth.UseDPoPNonce)
}

// TestNextNonceComesBeforeTheOldOneEnds: RFC 9449 §8.2.
func TestNextNonceComesBeforeTheOldOneEnds(t *testing.T) {
	w := newWorld(t)
	for age, want := range map[time.Duration]bool{0: false, 150 * time.Second: false, 151 * time.Second: true} {
		w.now = began.Add(age)
		header := http.Header{}
		if _, err := w.v.Check(w.request("POST", w.proof()), header, "", tokenURL); err != nil {
			t.Fatal(err)
		}
		next := header.Get("DPoP-Nonce")
		if (next != "") != want || next == w.nonce {
			t.Errorf("after %v: next nonce %q", age, next)
		}
		if next != "" {
			if _, err := w.send(w.proof(object{"nonce": next})); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestProofForAnotherToken: RFC 9449 §4.3 (12).
func TestProofForAnotherToken(t *testing.T) {
	w := newWorld(t)
	sum := sha256.Sum256([]byte(accessToken))
	ath := b64(sum[:])
	check := func(change object) error {
		_, err := w.v.Check(w.request("POST", w.proof(change)), http.Header{}, accessToken, "https://mtls.example.com/mcp/mail", tokenURL)
		return err
	}
	if err := check(object{"ath": ath}); err != nil {
		t.Error(err)
	}
	other := sha256.Sum256([]byte(accessToken + "x"))
	for name, wrong := range map[string]any{"missing": nil, "empty": "", "another token's": b64(other[:]), "padded": ath + "=", "the token itself": accessToken} {
		if err := check(object{"ath": wrong}); wire(err) != oauth.InvalidDPoPProof {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzProof(f *testing.F) {
	f.Add("a.b.c")
	f.Add(`{"typ":"dpop+jwt"}`)
	v := dpop.New(dpop.Config{Sealer: newSealer(), Proofs: &once{}, Now: func() time.Time { return began }})
	f.Fuzz(func(t *testing.T, proof string) {
		r, err := http.NewRequest(http.MethodPost, tokenURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("DPoP", proof)
		if p, err := v.Check(r, http.Header{}, "", tokenURL); err == nil || p.Thumbprint != "" {
			t.Errorf("%q proves %q", proof, p.Thumbprint)
		}
	})
}
