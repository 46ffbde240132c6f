package exchange_test

import (
	"errors"
	"testing"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

// freezes is an exchange.Freezes.
type freezes struct{ err error }

func (f freezes) Server(string) error { return f.err }

// TestFrozenServerIsNoTarget, worded as one that nobody knows; what is not known is an
// error of ours.
func TestFrozenServerIsNoTarget(t *testing.T) {
	for verdict, want := range map[error]error{revocation.ErrFrozen: oauth.ErrInvalidTarget(), token.ErrStale: token.ErrStale} {
		e := exchange.New(exchange.Config{Issuer: issuer, Resources: oauth.NewResources([]oauth.Resource{resource(t, mail)}, nil),
			Servers: map[oauth.Resource]string{resource(t, mail): "mail"}, Freezes: freezes{verdict}})
		_, err := e.Issue(t.Context(), oauth.TokenRequest{Client: oauth.Client{ID: "agent", Confidential: true}, Trace: &oauth.Trace{},
			Form: map[string][]string{"subject_token": {"x"}, "subject_token_type": {oauth.TokenTypeAccessToken}, "resource": {mail}}})
		var got, wire *oauth.Error
		if errors.As(want, &wire) {
			if !errors.As(err, &got) || got.Code != wire.Code || got.Description != wire.Description {
				t.Errorf("%v: %v, want %v", verdict, err, want)
			}
		} else if !errors.Is(err, want) || errors.As(err, &got) {
			t.Errorf("%v: %v, want %v", verdict, err, want)
		}
	}
}
