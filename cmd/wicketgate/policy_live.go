package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

// policyPoll is how often a process looks whether its policy has changed.
const policyPoll = time.Second

// openPolicy loads the policy. A start with a wrong one fails: nobody is served yet. A
// bundle may come later; until then everything is denied.
func (h *house) openPolicy(ctx context.Context, cfg houseConfig) error {
	h.pdp = policies.NewLive(policies.LiveConfig{Read: cfg.readPolicy, Now: time.Now, Took: func(ctx context.Context, p *policies.PDP) error {
		if err := keepSerial(cfg.Data, p.Serial()); err != nil {
			return err
		}
		return h.recordPolicy(ctx, cfg, p.Digest(), "reload")
	}})
	h.policyReport = &policyReport{live: h.pdp, log: cfg.Log, metrics: cfg.Metrics}
	_, err := h.pdp.Reload(ctx)
	if cfg.PDP.Bundle != nil && ctx.Err() == nil {
		h.policyReport.say(false, err)
		return nil
	}
	return err
}

// recordPolicy writes down that a policy takes effect. The first one does before there is
// an audit log: watchPolicy writes that down.
func (h *house) recordPolicy(ctx context.Context, cfg houseConfig, digest, how string) error {
	if h.audit == nil {
		return nil
	}
	return h.audit.Record(ctx, audit.Event{Kind: audit.Policy, Action: "policy/" + how, PolicyDigest: digest, Rule: cfg.policyName()})
}

// watchPolicy has the policy follow its files, and SIGHUP at once.
func (h *house) watchPolicy(ctx context.Context, cfg houseConfig) error {
	if digest := h.pdp.Digest(); digest != "" {
		if err := h.recordPolicy(ctx, cfg, digest, "load"); err != nil {
			return err
		}
		h.policyReport.warn()
	}
	if cfg.Metrics != nil {
		cfg.Metrics.watchPolicy(h.pdp)
	}
	elsewhere := h.followElsewhere(cfg)
	h.closers = append(h.closers,
		every(policyPoll, cfg.Log, "look for another policy", func(ctx context.Context) error {
			h.policyReport.say(elsewhere(ctx, h.pdp.Poll))
			return nil
		}),
		atHangup(func(ctx context.Context) {
			if b := cfg.PDP.Bundle; b != nil && b.server != nil {
				b.server.Now()
			}
			h.policyReport.say(elsewhere(ctx, h.pdp.Reload))
		}))
	return nil
}

// followElsewhere notices when an OPA elsewhere has another policy, or does not answer.
func (h *house) followElsewhere(cfg houseConfig) func(context.Context, func(context.Context) (bool, error)) (bool, error) {
	var mu sync.Mutex // guards known: which policy it had
	known := h.pdp.Digest()
	return func(ctx context.Context, reload func(context.Context) (bool, error)) (bool, error) {
		changed, err := reload(ctx)
		if err != nil || cfg.PDP.OPA == nil {
			return changed, err
		}
		if err := h.pdp.Current().Probe(ctx); err != nil {
			return changed, &silentError{fmt.Errorf("%s: %w", cfg.PDP.OPAURL, err)}
		}
		mu.Lock()
		defer mu.Unlock()
		now := h.pdp.Digest()
		if now == known {
			return changed, nil
		}
		known = now
		return true, h.recordPolicy(ctx, cfg, now, "reload")
	}
}

// silentError says that an OPA elsewhere gives no answer.
type silentError struct{ error }

// policyReport says what came of looking for another policy, once.
type policyReport struct {
	live    *policies.Live
	log     *slog.Logger
	metrics *metrics // may be nil

	mu   sync.Mutex // guards last
	last string     // the error that was said
}

// maxLines is how many mistakes of a policy are logged: whoever mends them sees the rest.
const maxLines = 20

func (r *policyReport) say(changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	said := r.last
	if r.last = ""; err != nil {
		r.last = err.Error()
	}
	switch digest := r.live.Digest(); {
	case changed:
		r.log.Info("another policy is in effect", "policy_digest", digest)
		r.warn()
		r.count("ok")
	case err == nil && said != "":
		r.log.Info("the policy is good again", "policy_digest", digest)
	case errors.As(err, new(*silentError)):
		if r.last != said {
			r.log.Error("the OPA that decides does not: everything is denied", "error", err)
		}
	case err != nil && r.last != said:
		for i, line := range strings.Split(r.last, "\n") {
			if i < maxLines {
				r.log.Error("the policy was refused: "+stays(digest), "error", line)
			}
		}
		r.count("failed")
	}
}

// warn says what /readyz does of the policy that takes effect: development mode has none,
// and nobody may look there.
func (r *policyReport) warn() {
	for i, w := range policyWarnings(r.live.Current(), time.Now()) {
		if i < maxLines {
			r.log.Warn(w)
		}
	}
}

func (r *policyReport) count(result string) {
	if r.metrics != nil {
		r.metrics.reloads.WithLabelValues(result).Inc()
	}
}

// stays says what holds while there is a policy that is refused.
func stays(digest string) string {
	if digest == "" {
		return "there is none, everything is denied"
	}
	return "the one of " + digest + " stays"
}

// policyCheck warns of a policy that was refused while the one before does its work, of
// servers that are in observe mode, and of what the policy itself warns of.
func (h *house) policyCheck(ctx context.Context) error {
	p, s, now := h.pdp.Current(), h.pdp.State(), time.Now()
	var warnings []error
	if s.Err != nil {
		line, _, _ := strings.Cut(s.Err.Error(), "\n")
		err := fmt.Errorf("not valid since %s: %s: %s", s.Failed.UTC().Format(time.RFC3339), stays(s.Digest), line)
		if p == nil {
			return err
		}
		warnings = append(warnings, err)
	}
	if err := p.Probe(ctx); err != nil {
		return fmt.Errorf("the OPA that decides does not, everything is denied: %w", err)
	}
	for _, w := range policyWarnings(p, now) {
		warnings = append(warnings, errors.New(w))
	}
	if len(warnings) == 0 {
		return nil
	}
	return web.Warning{Err: oneLine(warnings)}
}

// policyWarnings say which servers are in observe mode, and what p itself warns of.
func policyWarnings(p *policies.PDP, now time.Time) (out []string) {
	observed := p.Observed(now)
	for _, name := range slices.Sorted(maps.Keys(observed)) {
		out = append(out, fmt.Sprintf("server %s is in observe mode until %s: what policy denies is allowed, and recorded", name, observed[name].UTC().Format(time.RFC3339)))
	}
	return append(out, p.Warnings(now)...)
}

// oneLine is one line of several errors.
func oneLine(errs []error) error {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return errors.New(strings.Join(texts, "; "))
}

// watchPolicy adds which policy is in effect, for how long, and what came of reloads.
func (m *metrics) watchPolicy(live *policies.Live) {
	m.registry.MustRegister(policyInfo{live}, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wicketgate_policy_age_seconds",
		Help: "Time since the policy took effect; 0: there is none."}, func() float64 {
		s := live.State()
		if s.Since.IsZero() {
			return 0
		}
		return time.Since(s.Since).Seconds()
	}))
}

// policyInfo is a metric whose label is the digest in effect, and no other.
type policyInfo struct{ live *policies.Live }

var policyInfoDesc = prometheus.NewDesc("wicketgate_policy_info", "1 for the digest of the policy in effect; valid is false while the file is one that was refused.", []string{"digest", "valid"}, nil)

// Describe implements prometheus.Collector.
func (policyInfo) Describe(out chan<- *prometheus.Desc) { out <- policyInfoDesc }

// Collect implements prometheus.Collector.
func (p policyInfo) Collect(out chan<- prometheus.Metric) {
	s := p.live.State()
	out <- prometheus.MustNewConstMetric(policyInfoDesc, prometheus.GaugeValue, 1, s.Digest, fmt.Sprint(s.Err == nil))
}

// atHangup calls f at each SIGHUP until the returned function is called, which waits
// for it.
func atHangup(f func(context.Context)) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	hangup, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer close(done)
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				f(ctx)
			}
		}
	}()
	return func() error { cancel(); <-done; return nil }
}
