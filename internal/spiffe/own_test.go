package spiffe_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/spiffe"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

// TestOurJWTSVIDIsOfTheSameIdentity as our X.509-SVID, where the agent has several for
// us, and for the one audience.
func TestOurJWTSVIDIsOfTheSameIdentity(t *testing.T) {
	w := newWorld(t)
	several := w.state(w.domain)
	several.SVIDs = append(several.SVIDs, w.domain.X509(t, agent))
	w.api.Set(several)
	raw, err := w.source.JWTSVID(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	if svid, err := w.source.JWT(raw, issuer); err != nil || svid.ID.String() != us {
		t.Errorf("%v, %v", svid, err)
	}
	w.api.Set(spiffetest.State{SVIDs: []tls.Certificate{w.domain.X509(t, us)}, Domains: several.Domains, Refuse: codes.Unavailable})
	if _, err := w.source.JWTSVID(t.Context(), issuer); !errors.Is(err, authz.ErrUnavailable) || !strings.Contains(err.Error(), "a JWT-SVID of "+us+" from "+w.api.Address()) {
		t.Errorf("without the agent: %v", err)
	}
	if _, err := open(t, spiffe.Config{}).JWTSVID(t.Context(), issuer); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("without a Workload API: %v", err)
	}
}
