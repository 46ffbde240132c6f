package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/console"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// The clients of this server itself, for which alone tokens of the console are.
var (
	consoleID = identity.MustClientID("wicketgate-console") // its pages
	cliID     = identity.MustClientID("wicketgate-cli")     // wicketgate approvals
)

// consoleResource is what tokens of the console are for.
func consoleResource(cfg houseConfig) oauth.Resource {
	r, err := oauth.ParseResource(cfg.Issuer + console.Path)
	if err != nil {
		return oauth.Resource{} // the issuer is wrong, which others say
	}
	return r
}

// consoleClients are known to the authorization server wherever it runs: the console of a
// gateway in another process is at the same origin. Both are public: what they are is
// shown by where the code goes, or by a person who compares one.
func consoleClients(cfg houseConfig) []authz.Client {
	if cfg.NoConsole {
		return nil
	}
	return []authz.Client{
		{ID: consoleID, Name: "Wicketgate console", AuthMethod: oauth.AuthNone, GrantTypes: []string{oauth.GrantAuthorizationCode},
			RedirectURIs: []string{cfg.Issuer + console.PathCallback}, Scope: []string{oauth.ScopeApprovals}},
		{ID: cliID, Name: "wicketgate approvals (command line)", AuthMethod: oauth.AuthNone, GrantTypes: []string{oauth.GrantDeviceCode}, Scope: []string{oauth.ScopeApprovals}},
	}
}

// withConsole adds the console's resource, for its clients alone.
func withConsole(cfg houseConfig, r oauth.Resources) oauth.Resources {
	if cfg.NoConsole {
		return r
	}
	return r.Reserve(consoleResource(cfg), []string{oauth.ScopeApprovals}, consoleID.String(), cliID.String())
}

// mountConsole serves the console where the approvals are.
func (h *house) mountConsole(cfg houseConfig, mux *http.ServeMux) error {
	if h.approvals == nil { // no gateway, or no console
		return nil
	}
	pages, err := console.New(h.consoleConfig(cfg, mux))
	if err != nil {
		return err
	}
	pages.Register(mux)
	return nil
}

func (h *house) consoleConfig(cfg houseConfig, as http.Handler) console.Config {
	c := console.Config{Issuer: cfg.Issuer, Resource: consoleResource(cfg), Client: consoleID, Clients: map[identity.ClientID]bool{consoleID: true, cliID: true},
		Verifier: h.verifier, PDP: h.pdp, Approvals: h.approvals, Sessions: consoleSessions{h.store, time.Now}, Sealer: h.ring.Sealer("console"),
		Audit: h.audit, Refusals: h.refusals, AuthorizationEndpoint: cfg.Issuer + authz.PathAuthorize,
		TokenEndpoint: cfg.Issuer + authz.PathToken, Transport: inProcess{as}, Log: cfg.Log, Now: time.Now}
	if h.as != nil {
		c.TokenEndpoint, c.Transport = cfg.Exchange.URL+authz.PathToken, h.toAS
	}
	return c
}

// consoleSessions is the tickets of the store as console.Sessions.
type consoleSessions struct {
	tickets authz.Tickets
	now     func() time.Time
}

func sessionTicket(name string) []byte { return authz.TicketKey("session", name) }
func endedTicket(name string) []byte   { return authz.TicketKey("ended", name) }

// Put implements console.Sessions.
func (s consoleSessions) Put(ctx context.Context, name string, sealed []byte, expires time.Time) error {
	return s.tickets.InsertTicket(ctx, authz.TicketConsole, sessionTicket(name), sealed, s.now(), expires)
}

// Get implements console.Sessions.
func (s consoleSessions) Get(ctx context.Context, name string) ([]byte, error) {
	sealed, err := s.tickets.Ticket(ctx, authz.TicketConsole, sessionTicket(name), s.now())
	if errors.Is(err, authz.ErrNotFound) {
		return nil, console.ErrNoSession
	} else if err != nil {
		return nil, err
	}
	_, err = s.tickets.Ticket(ctx, authz.TicketConsole, endedTicket(name), s.now())
	switch {
	case err == nil:
		return nil, console.ErrNoSession
	case !errors.Is(err, authz.ErrNotFound):
		return nil, err
	}
	return sealed, nil
}

// End implements console.Sessions.
func (s consoleSessions) End(ctx context.Context, name string, expires time.Time) error {
	err := s.tickets.InsertTicket(ctx, authz.TicketConsole, endedTicket(name), nil, s.now(), expires)
	if errors.Is(err, authz.ErrExists) {
		return nil
	}
	return err
}

// inProcess is a transport to a handler of this process: the address of the issuer need not
// lead back here from here.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &kept{header: http.Header{}}
	in := r.Clone(r.Context())
	in.RemoteAddr = "127.0.0.1:0"
	t.handler.ServeHTTP(w, in)
	return &http.Response{StatusCode: cmp.Or(w.status, http.StatusOK), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r}, nil
}

// kept is an answer that is not sent anywhere.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *kept) Header() http.Header         { return k.header }
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }
func (k *kept) WriteHeader(status int)      { k.status = cmp.Or(k.status, status) }
