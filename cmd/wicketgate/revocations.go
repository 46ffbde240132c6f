package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// revocationsPoll is how often a process looks for what was revoked elsewhere. It is
// much less than revocation.MaxAge, so that one slow answer stops nothing.
const revocationsPoll = time.Second

// watchRevocations makes the view of this process and keeps it up to date.
func (h *house) watchRevocations(ctx context.Context, cfg houseConfig) error {
	var entries revocation.Reader = h.store
	if h.as != nil {
		entries = h.as
	}
	h.revocations = revocation.NewView(revocation.Config{Store: entries, Issuer: cfg.Issuer, Now: time.Now,
		Record: func(ctx context.Context, e revocation.Entry) error { return h.audit.Record(ctx, revocationEvent(e)) }})
	if err := h.revocations.Poll(ctx); err != nil && h.as == nil {
		return err
	} else if err != nil {
		cfg.Log.Warn("starting without the authorization server: everything is refused until it answers", "error", err)
	}
	h.closers = append(h.closers, every(revocationsPoll, cfg.Log, "look for revocations: all is refused when there was no answer for 5 seconds", h.revocations.Poll))
	if cfg.Metrics != nil {
		cfg.Metrics.watchRevocations(h.revocations)
	}
	return nil
}

// revocationEvent is the line about what an operator did, in the log of each process
// that it reached.
func revocationEvent(e revocation.Entry) audit.Event {
	ev := audit.Event{Kind: audit.Revocation, Action: "revoke", Decision: audit.Deny, Reason: e.Reason, Operator: e.By}
	switch {
	case e.Frozen:
		ev.Action = "freeze"
	case e.Lifted:
		ev.Action, ev.Decision = "unfreeze", audit.Allow
	}
	switch e.Kind {
	case revocation.Token:
		ev.TokenID = e.Name
	case revocation.Grant:
		ev.Txn = e.Name
	case revocation.Client:
		ev.Client = e.Name
	case revocation.Subject:
		ev.Subject = e.Name
	case revocation.Server:
		ev.Server = e.Name
	}
	return ev
}

// watchRevocations adds how old the view is.
func (m *metrics) watchRevocations(v *revocation.View) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wicketgate_revocations_age_seconds",
		Help: "How old the view of what was revoked is; above 5 everything is refused."}, func() float64 { return v.Age().Seconds() }))
}
