package main

import (
	"errors"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

// An operator who forgets that a server is in observe mode reads it where they look.
func TestObserveModeIsAWarningUntilItEnds(t *testing.T) {
	for until, want := range map[time.Duration]bool{time.Hour: true, -time.Hour: false} {
		at := time.Now().Add(until).UTC().Truncate(time.Second)
		pdp, err := policies.New(t.Context(), policies.Config{Access: []byte("version: 1\nservers: {mail: {observe_until: " + at.Format(time.RFC3339) + "}}\nroles: {r: {who: {users: [a]}, servers: {mail: {tools: [x]}}}}\n")})
		if err != nil {
			t.Fatal(err)
		}
		err = observeCheck(pdp.Observed).Do(t.Context())
		var w web.Warning
		if errors.As(err, &w) != want || want && err.Error() != "what policy would deny is allowed, and recorded, at mail until "+at.Format(time.RFC3339) {
			t.Errorf("%v: %v", until, err)
		}
	}
}
