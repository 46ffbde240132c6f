package token_test

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	stdjson "encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/needed"
	"github.com/wicketgate/wicketgate/internal/token"
)

// vectorGroup is a group of tests of C2SP/wycheproof, testvectors_v1.
type vectorGroup struct {
	Comment      string             `json:"comment"`
	Public       stdjson.RawMessage `json:"public"`
	PublicKeyDER string             `json:"publicKeyDer"`
	Tests        []struct {
		ID      int    `json:"tcId"`
		Comment string `json:"comment"`
		JWS     any    `json:"jws"` // text, or an object in the JSON serialization
		Sig     string `json:"sig"`
		Result  string `json:"result"`
	} `json:"tests"`
}

// vectors reads a file of them.
func vectors(t *testing.T, file string) []vectorGroup {
	t.Helper()
	b, ok := needed.Vectors(t, file)
	if !ok {
		t.SkipNow()
	}
	var v struct {
		Groups []vectorGroup `json:"testGroups"`
	}
	if err := stdjson.Unmarshal(b, &v); err != nil || len(v.Groups) == 0 {
		t.Fatalf("%s: %d groups, %v", file, len(v.Groups), err)
	}
	return v.Groups
}

// TestWycheproofJWS runs what is signed with ES256 against the signature check,
// and everything, valid or not, against the whole: none is a token of ours.
func TestWycheproofJWS(t *testing.T) {
	checked := 0
	for _, g := range vectors(t, "wycheproof_json_web_signature.json") {
		var key jose.JSONWebKey
		es256 := g.Public != nil && key.UnmarshalJSON(g.Public) == nil && key.Algorithm == "ES256"
		keys := keySet{map[string]token.PublicKey{"": {Algorithm: key.Algorithm, Key: key.Key}, key.KeyID: {Algorithm: key.Algorithm, Key: key.Key}}, token.ErrUnknownKey}
		v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: keys, Now: func() time.Time { return now }})
		for _, tt := range g.Tests {
			raw, ok := tt.JWS.(string)
			if !ok {
				continue // the JSON serialization cannot be in an Authorization header
			}
			if _, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{}); err == nil {
				t.Errorf("%s %d (%s) was accepted as an access token", g.Comment, tt.ID, tt.Comment)
			}
			if !es256 {
				continue
			}
			checked++
			if _, err := token.VerifyJWS(raw, key.Key); (err == nil) != (tt.Result == "valid") {
				t.Errorf("%s %d (%s): %v, want %s", g.Comment, tt.ID, tt.Comment, err, tt.Result)
			}
		}
	}
	if checked < 30 {
		t.Errorf("%d vectors with ES256, want at least 30", checked)
	}
}

// TestWycheproofSignaturesFitNoToken puts signatures that were made to fool a
// verifier under a token: each with the key it was made for. (Their own messages
// are no JWS, so that this much of them can be run.)
func TestWycheproofSignaturesFitNoToken(t *testing.T) {
	for file, alg := range map[string]string{"wycheproof_ecdsa_secp256r1_sha256_p1363.json": "ES256", "wycheproof_ed25519.json": "EdDSA"} {
		checked := 0
		for _, g := range vectors(t, file) {
			key, err := parsePublic(g.PublicKeyDER)
			if err != nil {
				t.Fatal(err)
			}
			keys := keySet{map[string]token.PublicKey{"ec": {Algorithm: alg, Key: key}}, token.ErrUnknownKey}
			v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: keys, Now: func() time.Time { return now }})
			for _, tt := range g.Tests {
				sig, err := hex.DecodeString(tt.Sig)
				if err != nil {
					t.Fatal(err)
				}
				raw := forge(edit(t, goodHeader, "ES256", alg), goodAccess, func([]byte) []byte { return sig })
				if _, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{}); err == nil {
					t.Errorf("%s %d (%s) signs a token of ours", file, tt.ID, tt.Comment)
				}
				checked++
			}
		}
		t.Logf("%s: %d signatures", file, checked)
	}
}

func parsePublic(der string) (crypto.PublicKey, error) {
	b, err := hex.DecodeString(der)
	if err != nil {
		return nil, err
	}
	return x509.ParsePKIXPublicKey(b)
}
