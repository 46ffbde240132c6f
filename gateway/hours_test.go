package gateway_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
)

// hourly is a PDP whose hours open and close.
type hourly struct {
	switched
	open atomic.Bool
}

func (h *hourly) Open(time.Time) string {
	if h.open.Load() {
		return "office"
	}
	return ""
}

// What hours allow is in the lists while they are open: whoever listens is told.
func TestListChangedWhenHoursOpen(t *testing.T) {
	var pdp hourly
	pdp.load(t, wide)
	r := newRevocable(t, func(c *gateway.Config) { c.PDP = &pdp })
	r.up.sessionsOnly()
	r.up.quiet()
	streams, _ := r.longStreams(time.Hour)
	get := lines(streams["GET"])
	for _, open := range []bool{true, false} {
		pdp.open.Store(open)
		r.beat()
		for _, want := range []string{"tools", "prompts", "resources"} {
			if got := until(t, get, "data:"); !strings.Contains(got, `"method":"notifications/`+want+`/list_changed"`) {
				t.Errorf("open %v: the GET stream says %s, want %s", open, got, want)
			}
		}
	}
}
