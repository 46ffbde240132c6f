package authz_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// testKeys are one key of each algorithm, and others that no client has.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"RS256": rsaKey, "PS256": rsaKey, "ES256": newKey(), "EdDSA": ed, "other": newKey()}
})

func newKey() *ecdsa.PrivateKey {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return k
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// object is a JSON object, to be changed.
type object map[string]any

// jwkOf is the public key as a JWK, with further members.
func jwkOf(key crypto.PublicKey, more object) object {
	var o object
	switch k := key.(type) {
	case *rsa.PublicKey:
		o = object{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, _ := k.Bytes()
		size := (len(point) - 1) / 2
		o = object{"kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+size]), "y": b64(point[1+size:])}
	case ed25519.PublicKey:
		o = object{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	maps.Copy(o, more)
	return o
}

func jwks(keys ...object) []byte {
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return b
}

// static puts a static client that asserts itself, with the key of ES256 as k1.
func (w *world) static(id string, changes ...func(*authz.Client)) {
	w.t.Helper()
	c := authz.Client{ID: identity.MustClientID(id), AuthMethod: oauth.AuthPrivateKeyJWT, GrantTypes: []string{grantEcho},
		JWKS: jwks(jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1"}))}
	for _, change := range changes {
		change(&c)
	}
	noError(w.t, w.server.PutStatic(w.t.Context(), c))
}

// claims are good claims of an assertion.
func (w *world) claims(id string, more ...object) object {
	now := w.clock.Now().Unix()
	c := object{"iss": id, "sub": id, "aud": w.url, "iat": now, "exp": now + 60, "jti": rand.Text()}
	for _, m := range more {
		maps.Copy(c, m)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign makes a compact JWS of what are JSON objects, or bytes that may be none.
func sign(t testing.TB, key crypto.Signer, header, payload any) string {
	t.Helper()
	text := func(v any) []byte {
		if b, ok := v.([]byte); ok {
			return b
		}
		return must(json.Marshal(v))(t)
	}
	input := b64(text(header)) + "." + b64(text(payload))
	var alg struct {
		Alg any `json:"alg"`
	}
	_ = json.Unmarshal(text(header), &alg)
	return input + "." + b64(signature(t, key, alg.Alg, input))
}

func signature(t testing.TB, key crypto.Signer, alg any, input string) []byte {
	t.Helper()
	hash := sha256.Sum256([]byte(input))
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if alg == "PS256" {
			return must(rsa.SignPSS(rand.Reader, k, crypto.SHA256, hash[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))(t)
		}
		return must(rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, hash[:]))(t)
	case ed25519.PrivateKey:
		return ed25519.Sign(k, []byte(input))
	}
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), hash[:])
	noError(t, err)
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// es256 signs with the key of static clients.
func es256(t testing.TB, claims any, more ...object) string {
	h := object{"alg": "ES256", "kid": "k1"}
	for _, m := range more {
		maps.Copy(h, m)
	}
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	return sign(t, testKeys()["ES256"], h, claims)
}

// assert asks for a token with the assertion.
func (w *world) assert(raw string, changes ...change) answer {
	w.t.Helper()
	return w.token(nil, with(url.Values{"grant_type": {grantEcho}, "client_assertion_type": {oauth.AssertionJWTBearer}, "client_assertion": {raw}}, changes...))
}

func (w *world) wantRefused(a answer) {
	w.t.Helper()
	w.wantError(a, http.StatusUnauthorized, "invalid_client")
	if want := "the client is unknown or did not prove who it is"; a.Description != want {
		w.t.Errorf("description %q, which others do not get", a.Description)
	}
}

func TestClientAssertion(t *testing.T) {
	w := newWorld(t)
	all := []object{}
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		all = append(all, jwkOf(testKeys()[alg].Public(), object{"kid": alg, "use": "sig"}))
	}
	w.static("all", func(c *authz.Client) { c.JWKS = jwks(all...) })
	w.static("listed", func(c *authz.Client) { c.AssertionAudience = w.url + "/oauth2/token" })
	w.static("es256-only", func(c *authz.Client) { c.SigningAlg = "ES256" })
	now := w.clock.Now().Unix()
	tests := map[string]struct {
		raw    string
		change change
	}{
		"RS256":                                  {raw: sign(t, testKeys()["RS256"], object{"alg": "RS256", "kid": "RS256"}, w.claims("all"))},
		"PS256":                                  {raw: sign(t, testKeys()["PS256"], object{"alg": "PS256", "kid": "RS256"}, w.claims("all"))},
		"ES256":                                  {raw: sign(t, testKeys()["ES256"], object{"alg": "ES256", "kid": "ES256"}, w.claims("all"))},
		"EdDSA":                                  {raw: sign(t, testKeys()["EdDSA"], object{"alg": "EdDSA", "kid": "EdDSA"}, w.claims("all"))},
		"the registered alg":                     {raw: es256(t, w.claims("es256-only"))},
		"without kid":                            {raw: sign(t, testKeys()["EdDSA"], object{"alg": "EdDSA"}, w.claims("all"))},
		"typ JWT":                                {raw: es256(t, w.claims("listed"), object{"typ": "JWT"})},
		"typ of its own":                         {raw: es256(t, w.claims("listed"), object{"typ": "client-authentication+jwt"})},
		"a header that means nothing here":       {raw: es256(t, w.claims("listed"), object{"x5t": "x", "cty": "y"})},
		"a claim that means nothing here":        {raw: es256(t, w.claims("listed", object{"name": "x"}))},
		"no iat":                                 {raw: es256(t, w.claims("listed", object{"iat": nil}))},
		"iat a minute in the future":             {raw: es256(t, w.claims("listed", object{"iat": now + 60}))},
		"nbf eight seconds in the future":        {raw: es256(t, w.claims("listed", object{"nbf": now + 8}))},
		"exp five minutes and the skew ahead":    {raw: es256(t, w.claims("listed", object{"exp": now + 360}))},
		"exp past by less than the skew":         {raw: es256(t, w.claims("listed", object{"exp": now - 59}))},
		"jti of 256 bytes":                       {raw: es256(t, w.claims("listed", object{"jti": strings.Repeat("x", 256)}))},
		"client_id beside it":                    {es256(t, w.claims("listed")), change{"client_id": {"listed"}}},
		"the listed client's own audience":       {raw: es256(t, w.claims("listed", object{"aud": w.url + "/oauth2/token"}))},
		"the listed client's audience, an array": {raw: es256(t, w.claims("listed", object{"aud": []string{w.url + "/oauth2/token"}}))},
		"the issuer in an array, client listed":  {raw: es256(t, w.claims("listed", object{"aud": []string{w.url}}))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantOK(w.assert(test.raw, test.change))
		})
	}
}

func TestClientAssertionType(t *testing.T) {
	w := newWorld(t)
	w.static("real")
	for name, c := range map[string]change{
		"missing":         {"client_assertion_type": nil},
		"of SAML":         {"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}},
		"in another case": {"client_assertion_type": {strings.ToUpper(oauth.AssertionJWTBearer)}},
		"alone":           {"client_assertion": nil, "client_id": {"real"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantError(w.assert(es256(t, w.claims("real")), c), 400, "invalid_request")
		})
	}
}

func TestClientAssertionReplay(t *testing.T) {
	w := newWorld(t)
	w.static("real")
	w.static("twin")
	raw := es256(t, w.claims("real", object{"jti": "same"}))
	w.wantOK(w.assert(raw))
	w.wantRefused(w.assert(raw))
	w.wantRefused(w.assert(es256(t, w.claims("real", object{"jti": "same", "exp": w.clock.Now().Unix() + 90})))) // it is the jti that counts
	w.wantOK(w.assert(es256(t, w.claims("twin", object{"jti": "same"}))))                                        // and whose it is
	w.clock.advance(119 * time.Second)                                                                           // the last second of the skew
	w.wantRefused(w.assert(raw))
	w.clock.advance(time.Hour)
	w.wantRefused(w.assert(raw))
	w.wantOK(w.assert(es256(t, w.claims("real", object{"jti": "same"}))))
}

func TestClientAssertionReplayedByTwoHundredAtOnce(t *testing.T) {
	w := newWorld(t)
	w.static("real")
	raw := es256(t, w.claims("real"))
	codes := make([]string, 200)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() { codes[i] = w.assert(raw).Error })
	}
	wg.Wait()
	var won int
	for _, c := range codes {
		switch c {
		case "":
			won++
		case "invalid_client":
		default:
			t.Errorf("answer %q", c)
		}
	}
	if won != 1 {
		t.Errorf("%d of 200 uses of one assertion succeeded", won)
	}
}

// TestStoreThatFailsLetsNoAssertionIn: without a record of the jti it could come again.
func TestStoreThatFailsLetsNoAssertionIn(t *testing.T) {
	w := newWorld(t)
	w.static("real")
	raw := es256(t, w.claims("real"))
	for _, method := range []string{"InsertTicket", "Client"} {
		w.store.on(failing(method))
		w.wantError(w.assert(raw), 500, "server_error")
	}
	w.store.on(nil)
	w.wantOK(w.assert(raw))
}

// TestForgedAssertionWritesNothing: strangers cannot fill the store.
func TestForgedAssertionWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.static("real")
	w.store.on(func(context.Context, string) error { return nil })
	w.wantRefused(w.assert(sign(t, testKeys()["other"], object{"alg": "ES256", "kid": "k1"}, w.claims("real"))))
	if w.store.called("InsertTicket") {
		t.Error("a forged assertion was noted")
	}
}

func TestAssertionIsTakenAtEveryEndpoint(t *testing.T) {
	w := newWorld(t)
	w.static("real")
	for _, path := range []string{authz.PathToken, authz.PathPAR, authz.PathRevoke, authz.PathIntrospect, authz.PathDeviceAuthorization} {
		post := func(raw string) answer {
			form := url.Values{"client_assertion_type": {oauth.AssertionJWTBearer}, "client_assertion": {raw}}
			return w.do(w.request("POST", path, "application/x-www-form-urlencoded", form.Encode()))
		}
		raw := es256(t, w.claims("real"))
		if a := post(raw); a.status == http.StatusUnauthorized || a.status >= 500 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if a := post(raw); a.Error != "invalid_client" {
			t.Errorf("%s, again: %d %s", path, a.status, a.body)
		}
	}
}
