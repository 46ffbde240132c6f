package dpop_test

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

const (
	tokenURL    = "https://mcp.example.com/oauth2/token"
	accessToken = "eyJ.an.access-token"
)

var began = time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)

// world is a verifier with real nonces, and a count of proofs.
type world struct {
	t     *testing.T
	v     *dpop.Verifier
	now   time.Time
	once  *once
	key   crypto.Signer // of the client
	nonce string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: began, once: &once{spent: map[string]time.Time{}}, key: keys()["ES256"]}
	w.v = dpop.New(dpop.Config{Sealer: newSealer(), Proofs: w.once, Now: func() time.Time { return w.now }})
	w.nonce = w.fresh()
	return w
}

// fresh is a nonce as a client gets it.
func (w *world) fresh() string {
	w.t.Helper()
	header := http.Header{}
	_, err := w.v.Check(w.request("POST", w.proof(object{"nonce": nil})), header, "", tokenURL)
	if wire(err) != oauth.UseDPoPNonce || header.Get("DPoP-Nonce") == "" {
		w.t.Fatalf("first proof: %v, nonce %q", err, header.Get("DPoP-Nonce"))
	}
	return header.Get("DPoP-Nonce")
}

type object = map[string]any

// claims are those of a good proof.
func (w *world) claims() object {
	return object{"jti": rand.Text(), "htm": "POST", "htu": tokenURL, "iat": w.now.Unix(), "nonce": w.nonce}
}

// proof is a good proof, with claims changed; nil removes one.
func (w *world) proof(changes ...object) string {
	w.t.Helper()
	return w.sign(w.key, object{}, merge(w.claims(), changes...))
}

// sign signs by the key, whose public half is in the header; h changes that.
func (w *world) sign(key crypto.Signer, h, claims object) string {
	w.t.Helper()
	header := merge(object{"typ": "dpop+jwt", "alg": algOf(key), "jwk": jwkOf(key.Public())}, h)
	return seal(w.t, key, must(json.Marshal(header))(w.t), must(json.Marshal(claims))(w.t))
}

// seal signs a header and a payload as they are.
func seal(t *testing.T, key crypto.Signer, header, payload []byte) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(signature(t, key, input))
}

func signature(t *testing.T, key crypto.Signer, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case *rsa.PrivateKey:
		return must(k.Sign(rand.Reader, sum[:], crypto.SHA256))(t)
	case ed25519.PrivateKey:
		return must(k.Sign(rand.Reader, []byte(input), crypto.Hash(0)))(t)
	}
	t.Fatalf("key %T", key)
	return nil
}

func algOf(key crypto.Signer) string {
	switch key.(type) {
	case *rsa.PrivateKey:
		return "RS256"
	case ed25519.PrivateKey:
		return "EdDSA"
	}
	return "ES256"
}

func jwkOf(public crypto.PublicKey) object {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		point, _ := k.Bytes()
		return object{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
	case *rsa.PublicKey:
		return object{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case ed25519.PublicKey:
		return object{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	return nil
}

var keys = sync.OnceValue(func() map[string]crypto.Signer {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	modulus, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"ES256": ec, "other": other, "RS256": modulus, "EdDSA": edwards}
})

func (w *world) request(method string, proofs ...string) *http.Request {
	w.t.Helper()
	r := must(http.NewRequest(method, "http://anything.example/elsewhere", nil))(w.t)
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	return r
}

// send checks and spends the proof of a token request.
func (w *world) send(proofs ...string) (string, error) {
	w.t.Helper()
	p, err := w.v.Check(w.request("POST", proofs...), http.Header{}, "", tokenURL)
	if err == nil {
		err = p.Spend(w.t.Context())
	}
	return p.Thumbprint, err
}

func (w *world) wantRefused(err error, code oauth.ErrorCode) {
	w.t.Helper()
	if wire(err) != code {
		w.t.Errorf("error %v, want %s", err, code)
	}
}

func wire(err error) oauth.ErrorCode {
	var e *oauth.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// once counts in memory; package storetest has the contests of the real ones.
type once struct {
	mu     sync.Mutex // guards what follows
	spent  map[string]time.Time
	broken error
}

func (o *once) Spend(_ context.Context, key []string, now, expires time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := strings.Join(key, "\n")
	switch {
	case o.broken != nil:
		return o.broken
	case now.Before(o.spent[k]):
		return dpop.ErrSpent
	}
	o.spent[k] = expires
	return nil
}

// sealer is AES-GCM, as package keys has it.
type sealer struct{ cipher.AEAD }

func newSealer() sealer {
	block, _ := aes.NewCipher([]byte(rand.Text() + rand.Text())[:32])
	aead, _ := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}
}

func (s sealer) Seal(plain []byte) []byte { return s.AEAD.Seal(nil, nil, plain, nil) }
func (s sealer) Open(sealed []byte) ([]byte, bool) {
	plain, err := s.AEAD.Open(nil, nil, sealed, nil)
	return plain, err == nil
}

func merge(base object, changes ...object) object {
	out := maps.Clone(base)
	for _, c := range changes {
		maps.Copy(out, c)
	}
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
