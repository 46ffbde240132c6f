package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// TestWorkloadOfItsOwnEntryHasNothingOfThePattern: a SPIFFE ID that has an entry of its
// own is what that says, also where it says nothing.
func TestWorkloadOfItsOwnEntryHasNothingOfThePattern(t *testing.T) {
	w := newWorkloads(t)
	exchange := `grant_types: [client_credentials, "` + oauth.GrantTokenExchange + `"]`
	w.start(w.config(withTLS + withMutualTLS + strings.Replace(withWorkloads, `agent/*", auth_method: spiffe}`,
		`agent/*", auth_method: spiffe, `+exchange+`, acts_for: ["*"]}
  - {id: "`+workloadA+`", auth_method: spiffe, `+exchange+`}`, 1)))
	others, refused := w.accessToken(w.client())
	if others == "" {
		t.Fatal(refused)
	}
	for id, want := range map[string]int{workloadA: http.StatusBadRequest, "spiffe://example.org/agent/b": http.StatusOK} {
		params := byJWT(w.own.svid(w.own.jwt.key, map[string]any{"sub": id}), "grant_type", oauth.GrantTokenExchange,
			"subject_token", others, "subject_token_type", oauth.TokenTypeAccessToken)
		if status, body := w.post(w.client(), serveIssuer+authz.PathToken, w.credentials(params...)); status != want {
			t.Errorf("%s exchanges the token of another client: %d %s, want %d", id, status, body, want)
		}
	}
}
