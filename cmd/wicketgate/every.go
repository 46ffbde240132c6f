package main

import (
	"context"
	"log/slog"
	"time"
)

// every calls f now and then until the returned function is called, which waits
// for it.
func every(d time.Duration, log *slog.Logger, what string, f func(context.Context) error) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				if err := f(ctx); err != nil && ctx.Err() == nil {
					log.Error(what, "error", err)
				}
			}
		}
	}()
	return func() error { cancel(); <-done; return nil }
}

// deleteExpired removes from the store what expired long ago or was never used, all
// of it, a bounded batch at a time.
func (h *house) deleteExpired(ctx context.Context) error {
	for {
		n, err := h.store.DeleteExpired(ctx, time.Now())
		if err != nil {
			return err
		}
		if h.authz != nil {
			unused, err := h.authz.DeleteUnused(ctx)
			if err != nil {
				return err
			}
			n += unused
		}
		if n == 0 {
			return nil
		}
	}
}
