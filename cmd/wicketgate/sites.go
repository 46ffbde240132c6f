package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// site is a handler with its listener.
type site struct {
	listener net.Listener
	handler  http.Handler
	tls      *tls.Config // nil: plain HTTP
}

// sitesConfig is what runSites runs.
type sitesConfig struct {
	Sites         []site // ended in this order, each after the requests of the one before have finished
	Log           *slog.Logger
	Headers, Idle time.Duration         // for headers to arrive; for a connection without a request
	Ready         func(context.Context) // called once all sites answer
	Stopping      func()                // called first when it is to end; may be nil
	Drain         time.Duration         // from Stopping until new connections are refused
	Finish        time.Duration         // for requests to finish before they are cut off
}

// runSites runs the sites until it is asked to end or one fails. It returns an error if
// one failed, or if requests had to be cut off.
func runSites(asked context.Context, cfg sitesConfig) error {
	ctx, stop := context.WithCancel(asked)
	defer stop()
	servers := make([]*http.Server, len(cfg.Sites))
	done := make(chan error, len(cfg.Sites))
	for i, s := range cfg.Sites {
		servers[i] = &http.Server{Handler: s.handler, TLSConfig: s.tls, ReadHeaderTimeout: cfg.Headers, IdleTimeout: cfg.Idle, MaxHeaderBytes: 32 << 10,
			ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)}
		go func() {
			err := s.run(servers[i])
			if !errors.Is(err, http.ErrServerClosed) {
				stop()
			}
			done <- err
		}()
	}
	cfg.Ready(ctx)
	<-ctx.Done()
	if cfg.Stopping != nil {
		cfg.Stopping()
	}
	if asked.Err() != nil { // rather than that one failed
		time.Sleep(cfg.Drain)
	}
	return endSites(cfg, servers, done)
}

func (s site) run(server *http.Server) error {
	if s.tls != nil {
		return server.ServeTLS(s.listener, "", "")
	}
	return server.Serve(s.listener)
}

func endSites(cfg sitesConfig, servers []*http.Server, done <-chan error) error {
	grace, cancel := context.WithTimeout(context.Background(), cfg.Finish)
	defer cancel()
	var errs []error
	for _, s := range servers {
		if err := s.Shutdown(grace); err != nil {
			errs = append(errs, fmt.Errorf("stop: requests did not finish within %s and were cut off: %w", cfg.Finish, errors.Join(err, s.Close())))
		}
	}
	for range servers {
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, fmt.Errorf("serve: %w", err))
		}
	}
	return errors.Join(errs...)
}
