package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/token"
)

// TestMessageWithoutItsCredentialIsNotSent, nor one with another server's: a way to an upstream
// that forgets to obtain one fails, and so does one that takes what is at hand.
func TestMessageWithoutItsCredentialIsNotSent(t *testing.T) {
	here, there := &lender{}, &lender{all: true}
	lent := (&lent{credential: &credential.Credential{}, lender: here, over: context.Background()}).in(t.Context())
	foreign := credential.With(t.Context(), &credential.Credential{})
	for name, tt := range map[string]struct {
		l      *lender
		ctx    context.Context
		method string
		ok     bool
	}{
		"a call with one":         {here, lent, "tools/call", true},
		"a list without":          {here, t.Context(), "tools/list", true},
		"a call without":          {here, t.Context(), "tools/call", false},
		"a list where all need":   {there, t.Context(), "tools/list", false},
		"with another server's":   {there, lent, "tools/list", false},
		"with one from elsewhere": {here, foreign, "tools/list", false},
	} {
		up, req := &upstream{lender: tt.l}, httptest.NewRequestWithContext(tt.ctx, http.MethodPost, "/", nil)
		if err := up.authorize(req, token.Call{}, tt.method); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
