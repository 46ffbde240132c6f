package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/console"
	"github.com/wicketgate/wicketgate/internal/webhook"
)

// webhooksPoll is how often a process looks for messages to send.
const webhooksPoll = time.Second

// ApprovalsConfig is about calls that wait for somebody's approval.
type ApprovalsConfig struct {
	// How many calls of one subject may wait at a time; more are refused.
	Pending int `yaml:"pending" default:"20" min:"1" max:"1000"`

	// Who is told of each request and each decision. Messages wait in the store until
	// they are delivered; after a day of attempts they are given up, and the log says so.
	Webhooks []WebhookConfig `yaml:"webhooks"`
}

// WebhookConfig is a URL that gets signed messages (Standard Webhooks 1.0). They say who
// asks for what, with the arguments as redaction leaves them.
type WebhookConfig struct {
	// https; http only for this machine. A redirect is not followed.
	URL string `yaml:"url" required:"true"`

	// File with the secret that signs: whsec_ and the base64 of 24 to 64 random bytes. Two
	// lines are two secrets, and both sign, for the receiver to change from one to the next.
	SecretFile string `yaml:"secret_file" required:"true"`
}

// approvals checks who is told.
func (c configCheck) approvals() {
	a := c.s.Approvals
	c.s.house.MaxPending = a.Pending
	switch {
	case len(a.Webhooks) > 0 && !c.s.Console.Enabled:
		c.note("approvals.webhooks says nothing here: without the console (console.enabled) no call waits for an approval")
	case len(a.Webhooks) > 0 && !c.asked.enforces():
		c.note("approvals.webhooks says nothing here: the process that has the gateway sends them")
	}
	seen := map[string]bool{}
	for i, w := range a.Webhooks {
		at := fmt.Sprintf("approvals.webhooks[%d]", i)
		if !c.good(at+".url") || !c.good(at+".secret_file") {
			continue
		}
		if seen[w.URL] {
			c.refuse(at+".url", "%s.url is there twice: keep one", at)
		}
		seen[w.URL] = true
		secrets, ok := c.secretFile(at+".secret_file", w.SecretFile)
		if !ok {
			continue
		}
		e, err := webhook.ParseEndpoint(w.URL, secrets)
		if err != nil {
			c.refuse(at, "%s: %v", at, err)
		}
		c.s.house.Webhooks = append(c.s.house.Webhooks, e)
	}
}

// openApprovals makes the approvals of a process that has the gateway, and sends what is to
// be told of them. Without the console nobody could decide: no call waits then.
func (h *house) openApprovals(cfg houseConfig) gateway.Approvals {
	if cfg.NoConsole {
		return nil
	}
	sender := webhook.New(webhook.Config{Endpoints: cfg.Webhooks, Outbox: h.store, Now: time.Now, Log: cfg.Log, Observe: cfg.Metrics.watchWebhooks()})
	h.approvals = approval.New(approval.Config{Store: h.store, Audit: h.audit, Notices: sender, Now: time.Now, Page: cfg.Issuer + console.PathApprovals,
		MaxPending: cfg.MaxPending, Prefixes: prefixes(cfg)})
	for _, e := range cfg.Webhooks {
		h.closers = append(h.closers, every(webhooksPoll, cfg.Log, "send webhook messages to "+e.Host(),
			func(ctx context.Context) error { return sender.Deliver(ctx, e) }))
	}
	return h.approvals
}

// prefixes are those of the people of other issuers.
func prefixes(cfg houseConfig) (all []string) {
	for _, is := range cfg.TrustedIssuers {
		if is.Prefix != "" {
			all = append(all, is.Prefix)
		}
	}
	return all
}

// watchWebhooks adds what came of attempts to deliver messages.
func (m *metrics) watchWebhooks() func(host, outcome string) {
	if m == nil {
		return nil
	}
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wicketgate_webhook_attempts_total",
		Help: "Attempts to deliver a message about an approval, by host and outcome: delivered, failed (it is tried again), given_up."}, []string{"host", "outcome"})
	m.registry.MustRegister(attempts)
	return func(host, outcome string) { attempts.WithLabelValues(host, outcome).Inc() }
}
