package gateway

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Called is one message that was served or refused, for metrics. It names nobody.
type Called struct {
	Server string
	Era    string        // stateless or session
	Reason string        // ok, or a word of the audit log
	Took   time.Duration // zero for what was refused, and for streams that have no end

	// Observed is the reason for which policy would have denied it, were the server not in
	// observe mode; empty: it allowed it, or it was refused.
	Observed string
}

// Stats is the state of one server, or of the endpoint over all (*).
type Stats struct {
	Server         string
	Circuit        string // closed, open or half-open
	Streams        int    // GET and subscriptions/listen that are open
	Sessions       int    // kept with it for callers of the stateless era
	Sent, Received int64  // bytes of bodies, since the start
}

// Stats returns how the servers are, by name.
func (g *Gateway) Stats() []Stats {
	ups := slices.Collect(maps.Values(g.upstreams))
	if !g.cfg.All.IsZero() {
		ups = append(ups, g.all)
	}
	var all []Stats
	for _, up := range ups {
		all = append(all, Stats{Server: up.Name, Circuit: up.health.circuit.State().String(), Streams: int(up.streams.Load()), Sessions: up.shared.len(),
			Sent: up.sent.Load(), Received: up.received.Load()})
	}
	slices.SortFunc(all, func(a, b Stats) int { return cmp.Compare(a.Server, b.Server) })
	return all
}

// said are the words of outcomes that are not failures of the gateway's and worth telling
// apart; of the others, none says more than ok.
var said = []string{"tool_error", "error_from_upstream", inputRequired, "to_be_resumed", "ended", "broken", "client_too_slow", "token_expired", "token_revoked", "server_frozen", "gateway_stopping"}

func (p *passage) observe(status string, failure *rpcError, took time.Duration) {
	if p.g.cfg.Observe == nil {
		return
	}
	c := Called{Server: p.up.Name, Era: "session", Reason: "ok", Took: took, Observed: string(p.observed)}
	if p.stateless {
		c.Era = "stateless"
	}
	if slices.Contains(said, status) {
		c.Reason = status
	}
	if failure != nil {
		c.Reason = failure.reason
	}
	if p.long {
		c.Took = 0
	}
	p.g.cfg.Observe(c)
}
