package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// TestMintedTokensVerifyElsewhere reads ours with go-jose: header, signature.
func TestMintedTokensVerifyElsewhere(t *testing.T) {
	short := func(rOrS int) signer { return signer{KeyID: "ec", Algorithm: "ES256", Key: shortKey{ec, rOrS}} }
	for _, s := range []signer{ecSigner(), short(0), short(1), {KeyID: "ed", Algorithm: "EdDSA", Key: ed}} {
		call, err := newMinter(&now, s).Call(accessOf(t, goodAccess), toolCall(t))
		if err != nil {
			t.Fatal(err)
		}
		jws, err := jose.ParseSignedCompact(call.Bearer(), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(s.Algorithm)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify(s.Key.Public()); err != nil {
			t.Error(err)
		}
		h := jws.Signatures[0].Header
		if h.KeyID != s.KeyID || h.ExtraHeaders["typ"] != "at+jwt" {
			t.Errorf("header %+v", h)
		}
		if _, err := newVerifier(&now).ParseCall(t.Context(), call.Bearer(), upstream); err != nil {
			t.Error(err)
		}
	}
}

// shortKey signs until r (0) or s (1) begins with a zero byte, as one in 256
// does: the encoding must keep it.
type shortKey struct {
	*ecdsa.PrivateKey
	rOrS int
}

func (k shortKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	for {
		der, err := k.PrivateKey.Sign(r, digest, opts)
		if err != nil {
			return nil, err
		}
		var v []*big.Int
		if _, err := asn1.Unmarshal(der, &v); err != nil {
			return nil, err
		}
		if v[k.rOrS].BitLen() <= 248 {
			return der, nil
		}
	}
}

func TestKeyOfAnotherAlgorithmSignsNothing(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]signer{
		"no key": {KeyID: "k", Algorithm: "ES256"}, "P-384": {KeyID: "k", Algorithm: "ES256", Key: p384}, "RSA": {KeyID: "k", Algorithm: "RS256", Key: rs},
		"Ed25519 as ES256": {KeyID: "k", Algorithm: "ES256", Key: ed}, "P-256 as EdDSA": {KeyID: "k", Algorithm: "EdDSA", Key: ec}, "none": {KeyID: "k", Algorithm: "none", Key: ec},
	} {
		if c, err := newMinter(&now, s).Call(accessOf(t, goodAccess), toolCall(t)); err == nil || c.Bearer() != "" {
			t.Errorf("%s: Call = %v, %v, want an error", name, c, err)
		}
	}
}

// TestNewKeySignsAtOnce: nothing of an old key is kept.
func TestNewKeySignsAtOnce(t *testing.T) {
	s := &turning{ecSigner()}
	m := newMinter(&now, s)
	for _, next := range []signer{ecSigner(), {KeyID: "ed", Algorithm: "EdDSA", Key: ed}, ecSigner()} {
		s.signer = next
		call, err := m.Call(accessOf(t, goodAccess), toolCall(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newVerifier(&now).ParseCall(t.Context(), call.Bearer(), upstream); err != nil {
			t.Errorf("%s: %v", next.KeyID, err)
		}
	}
}

type turning struct{ signer }

func TestAccessTokenRoundTrip(t *testing.T) {
	spec := token.AccessSpec{Subject: subject(t, "alice"), ClientID: identity.MustClientID("C"), Audience: mail, Scope: scope(t, "mcp:tools tool:x"), Txn: "grant-1",
		AuthTime: time.Unix(950, 0), Lifetime: 5 * time.Minute}
	raw, minted, err := newMinter(&now, ecSigner()).Access(spec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := newVerifier(&now).ParseAccess(t.Context(), raw, mail, token.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%+v", got.Verified), fmt.Sprintf("%+v", minted.Verified); a != b {
		t.Errorf("verified %s\nminted   %s", a, b)
	}
	if got.SubjectToken() != raw || minted.SubjectToken() != "" {
		t.Error("the token itself is with what was received, and with nothing else")
	}
	if got.Expiry() != time.Unix(1300, 0) || got.IssuedAt() != now {
		t.Errorf("from %v to %v", got.IssuedAt(), got.Expiry())
	}
}

// TestSecretsAreNotPrinted: not by any verb, not from inside another struct, not
// by either slog handler.
func TestSecretsAreNotPrinted(t *testing.T) {
	raw, access, err := newMinter(&now, ecSigner()).Access(token.AccessSpec{Subject: subject(t, "alice"), ClientID: identity.MustClientID("C"),
		Audience: mail, Scope: scope(t, "mcp:tools"), Lifetime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	call, err := newMinter(&now, ecSigner()).Call(access, toolCall(t))
	if err != nil {
		t.Fatal(err)
	}
	edKey := token.SigningKey{KeyID: "ed", Algorithm: "EdDSA", Key: ed}
	d, err := ec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{raw[len(raw)-20:], call.Bearer()[len(call.Bearer())-20:], fmt.Sprint([]byte(ed[:8]))[1:20], new(big.Int).SetBytes(d).String(), fmt.Sprintf("%x", ed[:8])}
	for _, v := range []any{access, call, &access, &call, struct{ c token.Call }{call}, []any{call, access}, edKey, &edKey, token.SigningKey(ecSigner())} {
		for _, printed := range printings(t, v) {
			for _, s := range secrets {
				if strings.Contains(printed, s) {
					t.Errorf("%T prints a secret: %s", v, printed)
				}
			}
		}
	}
	if got := fmt.Sprintf("%v %#v %s", call, call, edKey); got != "call token "+call.ID()+" call token "+call.ID()+" signing key ed" {
		t.Errorf("printed as %s", got)
	}
}

func printings(t *testing.T, v any) (out []string) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out = append(out, fmt.Sprintf(verb, v))
	}
	var text, js bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
	slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", v)
	j, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, text.String(), js.String(), string(j))
}
