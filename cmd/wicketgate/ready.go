package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/web"
)

// watchedAudit is the audit log as seen from outside: it counts lines and knows
// whether the last one could be written.
type watchedAudit struct {
	audit.Recorder
	path    string
	file    os.FileInfo
	metrics *metrics    // may be nil
	failed  atomic.Bool // the newest line could not be written
}

func watchAudit(log audit.Recorder, path string, m *metrics) (*watchedAudit, error) {
	info, err := os.Stat(path)
	return &watchedAudit{Recorder: log, path: path, file: info, metrics: m}, err
}

// Record implements audit.Recorder.
func (a *watchedAudit) Record(ctx context.Context, e audit.Event) error {
	err := a.Recorder.Record(ctx, e)
	if m := a.metrics; m != nil {
		if err != nil {
			m.failures.Inc()
		} else {
			m.audit.WithLabelValues(string(e.Kind)).Inc()
		}
	}
	if !errors.Is(err, audit.ErrBadEvent) { // that is the event's fault, not the log's
		a.failed.Store(err != nil)
	}
	return err
}

// auditProbe is the kind of the line that is tried after one could not be written.
const auditProbe audit.Kind = "probe"

// writable says whether a line can be written. Nothing is written to find out,
// unless the last line failed: then nobody may call, so nobody else would notice
// that it works again.
func (a *watchedAudit) writable(ctx context.Context) error {
	if err := same(a.path, a.file); err != nil {
		return err
	}
	if !a.failed.Load() {
		return nil
	}
	return a.Record(ctx, audit.Event{Kind: auditProbe, Reason: "a line could not be written before"})
}

// same reports whether path still leads to the file that was opened: what is
// written to a file that was moved away or deleted is lost.
func same(path string, opened os.FileInfo) error {
	now, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(now, opened) {
		return fmt.Errorf("%s is another file than the one that was opened", path)
	}
	return nil
}

// checks are what a house needs to serve.
func (h *house) checks(cfg houseConfig) ([]web.Check, error) {
	store, err := h.storeCheck(cfg.Store)
	if err != nil {
		return nil, err
	}
	checks := []web.Check{
		{Name: "store", Do: store},
		{Name: "audit", Do: h.audit.writable},
		{Name: "policy", Do: h.policyCheck},
		{Name: "revocations", Do: func(context.Context) error { return h.revocations.Fresh() }},
	}
	if h.as != nil {
		checks = append(checks, web.Check{Name: "authorization_server", Do: func(context.Context) error { return h.as.State() }},
			web.Check{Name: "keys", Do: func(context.Context) error { return h.keysWarning() }})
	} else {
		checks = append(checks, web.Check{Name: "keys", Do: func(context.Context) error {
			if h.ring.SigningKey().Key == nil || len(h.ring.JWKS().Keys) == 0 {
				return errors.New("there is no key to sign tokens with")
			}
			return h.keysWarning()
		}})
	}
	if h.gateway != nil {
		checks = append(checks, h.upstreamsCheck())
	}
	if h.vaultWatch != nil {
		checks = append(checks, h.vaultWatch.check())
	}
	if h.spiffe != nil {
		checks = append(checks, web.Check{Name: "spiffe", Do: func(context.Context) error {
			warning, err := h.spiffe.State()
			if warning != nil {
				return web.Warning{Err: warning}
			}
			return err
		}})
	}
	return checks, nil
}

func (h *house) storeCheck(cfg storeConfig) (func(ctx context.Context) error, error) {
	if cfg.Postgres != nil {
		return h.store.Ping, nil
	}
	database, err := os.Stat(cfg.SQLite)
	return func(ctx context.Context) error {
		if err := same(cfg.SQLite, database); err != nil {
			return err
		}
		return h.store.Ping(ctx)
	}, err
}

// keysWarning is what a person should know of the keys: with those in memory all goes on.
func (h *house) keysWarning() error {
	if err := h.ring.State(); err != nil {
		return web.Warning{Err: err}
	}
	return nil
}
