package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

func TestExpiredTokenIsRefusedAlthoughCached(t *testing.T) {
	clock := now
	v := newVerifier(&clock)
	raw := forge(goodHeader, goodAccess, es256(ec))
	for _, tt := range []struct {
		at   int64
		want error
	}{{1000, nil}, {1299, nil}, {1300, token.ErrExpired}, {1299, nil}, {894, token.ErrNotYet}} {
		clock = time.Unix(tt.at, 0)
		if _, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{}); !errors.Is(err, tt.want) {
			t.Errorf("at %d: ParseAccess = %v, want %v", tt.at, err, tt.want)
		}
	}
}

func TestTokenForAnotherAudienceIsRefusedAlthoughCached(t *testing.T) {
	v := newVerifier(&now)
	raw := forge(goodHeader, goodAccess, es256(ec))
	for _, tt := range []struct {
		audience string
		want     error
	}{{mail, nil}, {upstream, token.ErrAudience}, {mail + "/", token.ErrAudience}, {"", token.ErrAudience}, {mail, nil}} {
		if _, err := v.ParseAccess(t.Context(), raw, tt.audience, token.Confirmation{}); !errors.Is(err, tt.want) {
			t.Errorf("audience %q: ParseAccess = %v, want %v", tt.audience, err, tt.want)
		}
	}
}

// TestTamperedCopyNeverHitsTheCache changes each character of a cached token.
func TestTamperedCopyNeverHitsTheCache(t *testing.T) {
	v := newVerifier(&now)
	raw := forge(goodHeader, goodAccess, es256(ec))
	if _, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{}); err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) {
		other := "A"
		if raw[i] == 'A' {
			other = "B"
		}
		if _, err := v.ParseAccess(t.Context(), raw[:i]+other+raw[i+1:], mail, token.Confirmation{}); err == nil {
			t.Errorf("accepted with character %d changed", i)
		}
	}
	if v.Cached() != 1 {
		t.Errorf("%d tokens cached, want the 1 good one", v.Cached())
	}
}

// TestRefusedTokensAreNotCached: nobody fills the cache without a signature.
func TestRefusedTokensAreNotCached(t *testing.T) {
	v := newVerifier(&now)
	for _, raw := range []string{
		"", "a.b.c", forge(goodHeader, goodAccess, es256(foreign)), forge(goodHeader, strings.Replace(goodAccess, "as.example", "b.example", 1), es256(ec)),
	} {
		if _, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{}); err == nil {
			t.Errorf("accepted %q", raw)
		}
	}
	if v.Cached() != 0 {
		t.Errorf("%d refused tokens are cached", v.Cached())
	}
}

func TestCacheIsBounded(t *testing.T) {
	v := newVerifier(&now)
	raw := forge(goodHeader, goodAccess, es256(ec))
	for i := range 5 {
		if _, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{}); err != nil {
			t.Fatal(err)
		}
		v.FillCache(i*token.CacheTokens, (i+3)*token.CacheTokens)
		if v.Cached() > 2*token.CacheTokens {
			t.Fatalf("%d tokens cached, want at most %d", v.Cached(), 2*token.CacheTokens)
		}
	}
}

// TestTokenInUseStaysCached: a key set that is gone shows where the answer is from.
func TestTokenInUseStaysCached(t *testing.T) {
	keys := testKeys()
	v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: keys, Now: func() time.Time { return now }})
	raw := forge(goodHeader, goodAccess, es256(ec))
	for i := range 10 {
		if _, err := v.ParseAccess(t.Context(), raw, mail, token.Confirmation{}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		delete(keys.keys, "ec")
		v.FillCache(i*token.CacheTokens/2, (i+1)*token.CacheTokens/2)
	}
}
