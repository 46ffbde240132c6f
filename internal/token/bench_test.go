package token_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
)

func BenchmarkVerifyCached(b *testing.B) {
	v, raw := newVerifier(&now), forge(goodHeader, goodAccess, es256(ec))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.ParseAccess(b.Context(), raw, mail, token.Confirmation{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyFirstSight(b *testing.B) {
	raw := forge(goodHeader, goodAccess, es256(ec))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := newVerifier(&now).ParseAccess(b.Context(), raw, mail, token.Confirmation{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMintCall is to be read beside BenchmarkSign, which its ES256 contains.
func BenchmarkMintCall(b *testing.B) {
	for _, k := range []signer{ecSigner(), {KeyID: "ed", Algorithm: "EdDSA", Key: ed}} {
		b.Run(k.Algorithm, func(b *testing.B) {
			m, parent, spec := newMinter(&now, k), accessOf(b, goodAccess), toolCall(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Call(parent, spec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	sum := sha256.Sum256(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ecdsa.SignASN1(rand.Reader, ec, sum[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	for name, in := range map[string]string{
		"600B":            `{"to":"bob@example.com","limit":100,"body":"` + strings.Repeat("lorem ipsum ", 45) + `"}`,
		"600BLongNumbers": `{"to":"bob@example.com","id":1234567890123456,"body":"` + strings.Repeat("lorem ipsum ", 45) + `"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := token.Digest(jsontext.Value(in)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMintAccess(b *testing.B) {
	workload := person(b)
	workload.Groups, workload.Claims, workload.ACR = nil, nil, ""
	for name, s := range map[string]token.AccessSpec{"workload": workload, "person": person(b)} {
		b.Run(name, func(b *testing.B) {
			m := newMinter(&now, ecSigner())
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := m.Access(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
