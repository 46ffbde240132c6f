package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
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
	Sites         [][]site // ended group by group, each after the requests of the one before have finished
	Log           *slog.Logger
	Headers, Idle time.Duration         // for headers to arrive; for a connection without a request
	Ready         func(context.Context) // called once all sites answer
	Stopping      func()                // called first when it is to end; may be nil
	Drain         time.Duration         // from Stopping until new connections are refused
	Ending        func()                // called when new connections are refused; may be nil
	Finish        time.Duration         // for requests to finish before they are cut off
}

// runSites runs the sites until it is asked to end or one fails. It returns an error if
// one failed, or if requests had to be cut off.
func runSites(asked context.Context, cfg sitesConfig) error {
	ctx, stop := context.WithCancel(asked)
	defer stop()
	servers, done := make([][]*http.Server, len(cfg.Sites)), make(chan error)
	for i, group := range cfg.Sites {
		for _, s := range group {
			server := &http.Server{Handler: s.handler, TLSConfig: s.tls, ReadHeaderTimeout: cfg.Headers, IdleTimeout: cfg.Idle, MaxHeaderBytes: 32 << 10,
				ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)}
			servers[i] = append(servers[i], server)
			go func() {
				err := s.run(server)
				if !errors.Is(err, http.ErrServerClosed) {
					stop()
				}
				done <- err
			}()
		}
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

func endSites(cfg sitesConfig, servers [][]*http.Server, done <-chan error) error {
	grace, cancel := context.WithTimeout(context.Background(), cfg.Finish)
	defer cancel()
	var errs []error
	if cfg.Ending != nil {
		cfg.Ending()
	}
	for _, group := range servers {
		if err := shutDown(grace, group); err != nil {
			errs = append(errs, fmt.Errorf("stop: requests did not finish within %s and were cut off: %w", cfg.Finish, err))
		}
	}
	for range slices.Concat(servers...) {
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, fmt.Errorf("serve: %w", err))
		}
	}
	return errors.Join(errs...)
}

// shutDown ends servers at the same time: none takes new requests while it waits for
// those of another.
func shutDown(ctx context.Context, servers []*http.Server) error {
	ended := make(chan error)
	for _, s := range servers {
		go func() {
			err := s.Shutdown(ctx)
			if err != nil {
				err = errors.Join(err, s.Close())
			}
			ended <- err
		}()
	}
	var errs []error
	for range servers {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}
