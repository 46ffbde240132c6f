package webhook

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	timeout = 10 * time.Second // of an attempt
	lease   = time.Minute      // that a process has a message for: longer than any attempt
	batch   = 8                // attempts at a time, of an endpoint
	maxRead = 64 << 10         // bytes of an answer, and of its headers
)

// pauses are after the first attempt that failed, the second and so on; then a message is
// given up, after about a day.
var pauses = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 8 * time.Hour}

// What came of an attempt.
const (
	Delivered = "delivered" // answered with 2xx
	Failed    = "failed"    // it is tried again
	GivenUp   = "given_up"
)

// Config is what a Sender is made of.
type Config struct {
	Endpoints []Endpoint
	Outbox    Outbox
	Now       func() time.Time
	Log       *slog.Logger
	Observe   func(host, outcome string) // may be nil; called for each attempt
}

// Sender stores messages, and delivers them. It is safe for concurrent use.
type Sender struct {
	cfg  Config
	http *http.Client
}

// New makes a Sender.
func New(cfg Config) *Sender {
	if cfg.Observe == nil {
		cfg.Observe = func(string, string) {}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxRead
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return &Sender{cfg: cfg, http: &http.Client{Transport: transport, Timeout: timeout,
		// Whoever answers may not have us post a message elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Put stores a message for each endpoint, in the transaction that ctx carries.
func (s *Sender) Put(ctx context.Context, kind string, body []byte, now time.Time) error {
	all := make([]Message, 0, len(s.cfg.Endpoints))
	for _, e := range s.cfg.Endpoints {
		all = append(all, Message{ID: "msg_" + rand.Text(), Endpoint: e.ID(), Kind: kind, Body: body, Created: now, Due: now})
	}
	if len(all) == 0 {
		return nil
	}
	return s.cfg.Outbox.AddMessages(ctx, all)
}

// Deliver sends what is due at one endpoint: call it now and then, for each endpoint by
// itself, so that one that hangs keeps none waiting but its own. An error is the store's.
func (s *Sender) Deliver(ctx context.Context, e Endpoint) error {
	for {
		now := s.cfg.Now()
		all, err := s.cfg.Outbox.TakeMessages(ctx, e.ID(), batch, now, now.Add(lease))
		if err != nil {
			return err
		}
		errs := make([]error, len(all))
		var wg sync.WaitGroup
		for i, m := range all {
			wg.Go(func() { errs[i] = s.attempt(ctx, e, m) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil || len(all) < batch {
			return err
		}
	}
}

// attempt sends one message and notes what came of it.
func (s *Sender) attempt(ctx context.Context, e Endpoint, m Message) error {
	retry, failed := s.post(ctx, e, m)
	if ctx.Err() != nil && failed != nil { // we stop: it is due again when our time with it is over
		return nil
	}
	always := context.WithoutCancel(ctx) // what was sent is noted, also while we stop
	switch {
	case failed == nil:
		s.cfg.Observe(e.Host(), Delivered)
		return s.cfg.Outbox.DropMessage(always, m.ID)
	case !retry || m.Attempts > len(pauses):
		s.cfg.Observe(e.Host(), GivenUp)
		s.cfg.Log.Error("a webhook message is given up", "host", e.Host(), "kind", m.Kind, "webhook_id", m.ID, "attempts", m.Attempts, "error", failed)
		return s.cfg.Outbox.DropMessage(always, m.ID)
	}
	s.cfg.Observe(e.Host(), Failed)
	if m.Attempts == 1 {
		s.cfg.Log.Warn("a webhook message is tried again", "host", e.Host(), "kind", m.Kind, "webhook_id", m.ID, "error", failed)
	}
	pause := pauses[m.Attempts-1]
	m.Due = s.cfg.Now().Add(pause + mathrand.N(pause/10)) // replicas and messages that failed together come back apart
	return s.cfg.Outbox.PutOffMessage(always, m)
}

// post sends one message. retry is whether it may be tried again: 410 says never to
// (Standard Webhooks 1.0, "Payload and headers").
func (s *Sender) post(ctx context.Context, e Endpoint, m Message) (retry bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), bytes.NewReader(m.Body))
	if err != nil {
		return true, hidden(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "wicketgate")
	if err := e.sign(r.Header, m, s.cfg.Now()); err != nil {
		return true, err
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return true, hidden(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxRead) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return resp.StatusCode != http.StatusGone, fmt.Errorf("answered %d", resp.StatusCode)
	}
	return true, nil
}

// hidden is the error without the URL, whose path may be a secret.
func hidden(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
