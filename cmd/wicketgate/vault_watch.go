package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// vaultPoll is how often a process asks whether Vault serves.
const vaultPoll = 5 * time.Second

// vaultWatch is how Vault fares for this process.
type vaultWatch struct {
	bridge *vaultbridge.Bridge
	client *vault.Client
	own    *vault.Own

	mu  sync.Mutex // guards err
	err error      // why Vault did not serve when it was last asked
}

// watchVault keeps an eye on Vault, for /readyz and metrics.
func (h *house) watchVault(cfg houseConfig) {
	h.vaultWatch = &vaultWatch{bridge: h.bridge, client: h.vault, own: h.vaultOwn}
	h.closers = append(h.closers, every(vaultPoll, cfg.Log, "ask Vault how it is", h.vaultWatch.ask))
	if cfg.Metrics != nil {
		cfg.Metrics.registry.MustRegister(vaultMetrics{h.vaultWatch})
	}
}

func (w *vaultWatch) ask(ctx context.Context) error {
	err := w.client.Health(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	return nil // /readyz tells, and logs when it changes
}

// state says why Vault does not serve, or not us.
func (w *vaultWatch) state() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.own.State()
}

// check warns of what goes wrong with Vault. It is never a reason to be not ready: other
// servers need none of it, and callers of those that do are told why.
func (w *vaultWatch) check() web.Check {
	return web.Check{Name: "vault", Do: func(context.Context) error {
		var all []string
		if err := w.state(); err != nil && !errors.Is(err, vault.ErrNotYet) { // in a second it is
			all = append(all, err.Error())
		}
		for _, s := range w.bridge.Status() {
			if s.Failed > 0 {
				all = append(all, fmt.Sprintf("server %s: %d leases could not be ended and are tried again (%s): wicketgate vault status shows them", s.Server, s.Failed, s.Why))
			} else if s.Open || ofServer[vault.Reason(s.Why)] {
				all = append(all, fmt.Sprintf("server %s: the last call was refused (%s)", s.Server, s.Why))
			}
		}
		if len(all) == 0 {
			return nil
		}
		return web.Warning{Err: errors.New(strings.Join(all, "; "))}
	}}
}

// ofServer are refusals that say something of a server, or of Vault. The others may be of
// one caller alone, and nobody raises a warning by being refused.
var ofServer = map[vault.Reason]bool{vault.Sealed: true, vault.Timeout: true, vault.Unreachable: true, vault.Failed: true, vault.Limited: true,
	vaultbridge.CircuitOpen: true, vaultbridge.Backlog: true, vaultbridge.NoLease: true, vaultbridge.TokenTTL: true, vaultbridge.TokenBatch: true,
	vaultbridge.BadTemplate: true, vaultbridge.VersionGone: true, vaultbridge.KeyTooOld: true, vaultbridge.KeyAgeUnknown: true}

// vaultMetrics reads how Vault fares when it is asked for.
type vaultMetrics struct{ watch *vaultWatch }

var (
	vaultUp     = prometheus.NewDesc("wicketgate_vault_up", "1 while Vault serves and our own login there is good.", nil, nil)
	vaultLeases = prometheus.NewDesc("wicketgate_vault_leases", "Leases of this process: held (for calls, or kept for a session or subject), ending, failed (they could not be ended, and are tried again).", []string{"server", "state"}, nil)
	vaultKeyAge = prometheus.NewDesc("wicketgate_vault_key_age_seconds", "How old the static key of the server was when a call last read it.", []string{"server"}, nil)
)

// Describe implements prometheus.Collector.
func (vaultMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{vaultUp, vaultLeases, vaultKeyAge} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m vaultMetrics) Collect(to chan<- prometheus.Metric) {
	up := 0.0
	if m.watch.state() == nil {
		up = 1
	}
	to <- prometheus.MustNewConstMetric(vaultUp, prometheus.GaugeValue, up)
	for _, s := range m.watch.bridge.Status() {
		for state, n := range map[string]int{"held": s.Leases, "ending": s.Ending, "failed": s.Failed} {
			to <- prometheus.MustNewConstMetric(vaultLeases, prometheus.GaugeValue, float64(n), s.Server, state)
		}
		if s.Age > 0 {
			to <- prometheus.MustNewConstMetric(vaultKeyAge, prometheus.GaugeValue, s.Age.Seconds(), s.Server)
		}
	}
}

// watchCredentials adds what credentials of Vault cost, and what came of asking for them.
func (m *metrics) watchCredentials() func(vaultbridge.Event) {
	if m == nil {
		return nil
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wicketgate_vault_requests_total",
		Help: "What was asked of Vault for the server, by operation (mint, with the login before; share: a credential that was there; renew; revoke) and result: ok, or a word of the audit log. An end that fails counts once for each lease."},
		[]string{"server", "operation", "result"})
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wicketgate_vault_request_duration_seconds",
		Help:    "How long it took, with everything, where it went well.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"server", "operation"})
	m.registry.MustRegister(requests, durations)
	return func(e vaultbridge.Event) {
		operation, result := operationOf(e)
		requests.WithLabelValues(e.Server, operation, m.reasons.label(result)).Inc()
		if e.Took > 0 {
			durations.WithLabelValues(e.Server, operation).Observe(e.Took.Seconds())
		}
	}
}

// operationOf is an event as metrics name it.
func operationOf(e vaultbridge.Event) (operation, result string) {
	switch e.What {
	case "minted":
		return "mint", "ok"
	case "refused":
		return "mint", e.Reason
	case "shared":
		return "share", "ok"
	case "renewed":
		return "renew", "ok"
	case "revoke_failed":
		return "revoke", e.Reason
	}
	return "revoke", "ok"
}
