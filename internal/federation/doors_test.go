package federation_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/federation"
)

// TestTokenOfOneDoorIsNoneOfAnother: all are signed with one key, by an issuer that is
// trusted for everything, and differ in nothing but what makes them what they are.
func TestTokenOfOneDoorIsNoneOfAnother(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) {
		c.Issuers[0].Workloads = &federation.Workloads{Identities: []federation.Identity{{Subject: "alice", Client: agent}}, MaxAge: c.Issuers[1].Workloads.MaxAge}
	})
	all := access.and(idJAG) // whatever typ it gets, the rest is good
	for _, typ := range []string{"", "JWT", "JOSE", "at+jwt", "application/at+jwt", "AT+JWT", "oauth-id-jag+jwt", "application/oauth-id-jag+jwt", "client-authentication+jwt", "dpop+jwt", "id+jwt", "logout+jwt", "secevent+jwt", "jwt"} {
		raw := sign(ecKey, object{"alg": "ES256", "kid": "k1", "typ": typ}, all)
		taken := fmt.Sprint(asSubject(w, raw) == nil, asGrant(w, raw) == nil, asWorkload(w, raw) == nil)
		want := map[string]string{"at+jwt": "true false false", "application/at+jwt": "true false false", "oauth-id-jag+jwt": "false true false",
			"": "false false true", "JWT": "false false true", "JOSE": "false false true"}[typ]
		if want == "" {
			want = "false false false"
		}
		if taken != want {
			t.Errorf("typ %q: %s, want %s", typ, taken, want)
		}
		if trusted := w.table.Trusts(raw); trusted != strings.HasPrefix(want, "true") {
			t.Errorf("typ %q: Trusts is %v", typ, trusted)
		}
	}
}

func TestGoodTokensAreTaken(t *testing.T) {
	for _, d := range doors {
		w := newWorld(t)
		for name, c := range map[string]object{"as it is": {}, "aud in a list": {"aud": []string{d.audience()}}, "further claims": {"x": object{"y": 1}}} {
			if err := d.open(w, d.token(c)); err != nil {
				t.Errorf("%s, %s: %v", d.name, name, err)
			}
		}
	}
}

func (d door) audience() string {
	if d.header["typ"] == nil {
		return endpoint
	}
	return ours
}

// TestClaimsThatNoDoorTakes: each is one change to a token that is taken.
func TestClaimsThatNoDoorTakes(t *testing.T) {
	second := now.Unix()
	attacks := map[string]object{
		"expired":                    {"exp": second - 1},
		"expires now":                {"exp": second},
		"no exp":                     {"exp": nil},
		"exp as text":                {"exp": fmt.Sprint(second + 60)},
		"exp in fractions":           {"exp": float64(second) + 60.5},
		"exp beyond every clock":     {"exp": int64(1) << 62},
		"exp before iat":             {"iat": second + 30, "exp": second + 20},
		"iat in the future":          {"iat": second + 61},
		"no iat":                     {"iat": nil},
		"iat negative":               {"iat": -1},
		"nbf in the future":          {"nbf": second + 61},
		"nbf no time":                {"nbf": "soon"},
		"no aud":                     {"aud": nil},
		"aud empty":                  {"aud": ""},
		"aud no value":               {"aud": []string{}},
		"aud ours and another":       {"aud": []string{ours, "https://other.example"}},
		"aud ours twice":             {"aud": []string{ours, ours}},
		"aud endpoint and issuer":    {"aud": []string{endpoint, ours}},
		"aud another":                {"aud": "https://other.example"},
		"aud ours with a slash":      {"aud": ours + "/"},
		"aud ours in capitals":       {"aud": "https://MCP.example.com"},
		"aud the resource":           {"aud": mail},
		"aud an object":              {"aud": object{ours: true}},
		"aud a list with a null":     {"aud": []any{nil}},
		"iss with a slash":           {"iss": idp + "/"},
		"iss in capitals":            {"iss": "https://IDP.example"},
		"iss unknown":                {"iss": "https://evil.example"},
		"iss ours":                   {"iss": ours},
		"iss a list":                 {"iss": []string{idp}},
		"iss of http":                {"iss": "http://idp.example"},
		"no sub":                     {"sub": nil},
		"sub empty":                  {"sub": ""},
		"sub with a line feed":       {"sub": "alice\nbob"},
		"sub no text":                {"sub": 7},
		"sub in capitals of the key": {"sub": nil, "SUB": "alice"},
	}
	for _, d := range doors {
		w := newWorld(t)
		for name, attack := range attacks {
			if err := d.open(w, d.token(attack)); err == nil {
				t.Errorf("%s: %s: taken", d.name, name)
			}
		}
		if err := d.open(w, d.token()); err != nil {
			t.Errorf("%s: %v", d.name, err)
		}
	}
}

// TestSignaturesThatNoDoorTakes: each is of the right claims.
func TestSignaturesThatNoDoorTakes(t *testing.T) {
	for _, d := range doors {
		w := newWorld(t)
		raw := d.token()
		input, sig := raw[:strings.LastIndex(raw, ".")], raw[strings.LastIndex(raw, ".")+1:]
		head := func(changes object) object { return d.header.and(changes) }
		none := part(head(object{"alg": "none"})) + "." + part(d.claims) + "."
		mac := part(head(object{"alg": "HS256"})) + "." + part(d.claims)
		h := hmac.New(sha256.New, must(ecKey.PublicKey.Bytes()))
		h.Write([]byte(mac))
		attacks := map[string]string{
			"none":                      none,
			"nOnE":                      part(head(object{"alg": "nOnE"})) + "." + part(d.claims) + ".",
			"HS256 with the public key": mac + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil)),
			"another key":               sign(otherKey, d.header, d.claims),
			"another key without kid":   sign(otherKey, head(object{"kid": nil}), d.claims),
			"another kid":               sign(ecKey, head(object{"kid": "k2"}), d.claims),
			"brings its key":            sign(otherKey, head(object{"jwk": jwkOf(otherKey.Public())}), d.claims),
			"names its key set":         sign(otherKey, head(object{"jku": "https://evil.example/jwks"}), d.claims),
			"has a chain":               sign(otherKey, head(object{"x5c": []string{"MIIB"}}), d.claims),
			"crit":                      sign(ecKey, head(object{"crit": []string{"exp"}}), d.claims),
			"b64":                       sign(ecKey, head(object{"b64": false}), d.claims),
			"no signature":              input + ".",
			"signature of another":      input + "." + base64.RawURLEncoding.EncodeToString(signature(ecKey, "ES256", "x.y")),
			"padded":                    input + "." + sig + "=",
			"four parts":                raw + "." + sig,
			"two claims of one name":    sign(ecKey, d.header, twice(d.claims)),
			"claims no object":          sign(ecKey, d.header, []byte(`["iss"]`)),
			"too long":                  sign(ecKey, d.header, d.claims.and(object{"x": strings.Repeat("x", 8<<10)})),
			"nothing":                   "",
		}
		for name, raw := range attacks {
			if err := d.open(w, raw); err == nil {
				t.Errorf("%s: %s: taken", d.name, name)
			}
		}
		if err := d.open(w, sign(ecKey, head(object{"kid": nil}), d.claims)); err != nil {
			t.Errorf("%s without kid: %v", d.name, err)
		}
	}
}

func jwkOf(key crypto.PublicKey) object {
	var s struct {
		Keys []object `json:"keys"`
	}
	if err := json.Unmarshal(set(key), &s); err != nil {
		panic(err)
	}
	return s.Keys[0]
}

// twice is claims that another reader could read in another way.
func twice(c object) []byte {
	b := must(json.Marshal(c))
	return append(b[:len(b)-1], []byte(`,"aud":"https://other.example"}`)...)
}

// TestKeyForOneAlgorithmVerifiesNoOther: an RSA key that is published for RS256 is none
// for PS256.
func TestKeyForOneAlgorithmVerifiesNoOther(t *testing.T) {
	for _, d := range doors {
		w := newWorld(t)
		publish(t, set(rsaKey.Public(), object{"alg": "RS256"}))
		for alg, want := range map[string]bool{"RS256": true, "PS256": false} {
			if err := d.open(w, sign(rsaKey, d.header.and(object{"alg": alg}), d.claims)); (err == nil) != want {
				t.Errorf("%s with %s: %v", d.name, alg, err)
			}
		}
	}
}
