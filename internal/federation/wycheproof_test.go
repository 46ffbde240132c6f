package federation_test

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	stdjson "encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/needed"
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

// withKey is a world whose issuers all have just that key, in a file.
func withKey(t *testing.T, jwks []byte) *world {
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, jwks, 0o600); err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(c *federation.Config) {
		for i := range c.Issuers {
			c.Issuers[i].JWKSURI, c.Issuers[i].JWKSFile = "", path
		}
	})
}

// TestWycheproofJWSOpensNoDoor: none, valid or not, with the key it was made for, is a
// token of another issuer.
func TestWycheproofJWSOpensNoDoor(t *testing.T) {
	checked := 0
	for _, g := range vectors(t, "wycheproof_json_web_signature.json") {
		w := withKey(t, []byte(`{"keys":[`+string(g.Public)+`]}`))
		for _, tt := range g.Tests {
			raw, ok := tt.JWS.(string)
			if !ok {
				continue // the JSON serialization cannot be in a form
			}
			checked++
			for _, d := range doors {
				if err := d.open(w, raw); err == nil {
					t.Errorf("%s %d (%s) is taken as %s", g.Comment, tt.ID, tt.Comment, d.name)
				}
			}
			if w.table.Trusts(raw) {
				t.Errorf("%s %d (%s) is trusted", g.Comment, tt.ID, tt.Comment)
			}
		}
	}
	if checked < 300 {
		t.Errorf("%d vectors, want at least 300", checked)
	}
}

// TestWycheproofSignaturesOpenNoDoor puts signatures that were made to fool a verifier
// under good claims: each with the key it was made for.
func TestWycheproofSignaturesOpenNoDoor(t *testing.T) {
	for file, alg := range map[string]string{"wycheproof_ecdsa_secp256r1_sha256_p1363.json": "ES256", "wycheproof_ed25519.json": "EdDSA"} {
		checked := 0
		for _, g := range vectors(t, file) {
			w := withKey(t, set(parsePublic(t, g.PublicKeyDER)))
			for _, tt := range g.Tests {
				sig, err := hex.DecodeString(tt.Sig)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range doors {
					raw := part(d.header.and(object{"alg": alg})) + "." + part(d.claims) + "." + base64.RawURLEncoding.EncodeToString(sig)
					if err := d.open(w, raw); err == nil {
						t.Errorf("%s %d (%s) signs %s", file, tt.ID, tt.Comment, d.name)
					}
				}
				checked++
			}
		}
		if checked < 100 {
			t.Errorf("%s: %d signatures, want at least 100", file, checked)
		}
	}
}

// TestWycheproofKeysThatAreUnusable: whatever a set of these holds, a door that opens
// opens by a key in it.
func TestWycheproofKeysThatAreUnusable(t *testing.T) {
	for _, g := range vectors(t, "wycheproof_json_web_key.json") {
		w := withKey(t, []byte(`{"keys":[`+string(g.Public)+`]}`))
		for _, d := range doors {
			if err := d.open(w, d.token()); err == nil {
				t.Errorf("%s: %s is taken by a key that did not sign it", g.Comment, d.name)
			}
		}
	}
}

func parsePublic(t *testing.T, der string) crypto.PublicKey {
	t.Helper()
	b, err := hex.DecodeString(der)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKIXPublicKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
