package authz_test

import (
	"net/http"
	"net/url"
	"sync"
	"testing"
)

// TestWholeTokenEndpointInParallel is for the race detector: fosite writes into
// what a store returns and into its own configuration.
func TestWholeTokenEndpointInParallel(t *testing.T) {
	w := newWorld(t)
	public, confidential := w.public(), w.confidential()
	agent := client{ID: "agent", Secret: agentSecret}
	shared := w.tokens(public)
	sharedCode := codeForm(public, w.approve(public).Get("code"))
	work := []func() int{
		func() int { return w.token(&public, refreshForm(w.tokens(public).RefreshToken)).status },
		func() int { return w.token(&confidential, refreshForm(w.tokens(confidential).RefreshToken)).status },
		func() int {
			return w.token(&agent, url.Values{"grant_type": {"client_credentials"}, "resource": {w.files()}}).status
		},
		func() int { return w.token(&agent, url.Values{"grant_type": {grantEcho}}).status },
		func() int { w.public(); return http.StatusOK },
		func() int { w.token(&public, refreshForm(shared.RefreshToken)); return http.StatusOK },
		func() int { w.token(&public, sharedCode); return http.StatusOK },
		func() int { w.token(&client{ID: "nobody"}, nil); return http.StatusOK },
		func() int {
			w.browser().get(w.authorizePath(public, change{"code_challenge": nil}))
			return http.StatusOK
		},
	}
	var wg sync.WaitGroup
	for range 4 {
		for i, f := range work {
			wg.Go(func() {
				if status := f(); status != http.StatusOK {
					t.Errorf("work %d: status %d", i, status)
				}
			})
		}
	}
	wg.Wait()
}
