package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// statusFlags is the flags of wicketgate vault status.
type statusFlags struct{ leases, json bool }

// vaultReport is what wicketgate vault status says.
type vaultReport struct {
	Address string         `json:"address"`
	Method  string         `json:"login_method"`
	Health  string         `json:"health"` // ok, or why it does not serve
	Login   string         `json:"login"`  // ok, or why ours does not work
	Servers []serverReport `json:"servers"`
	Note    string         `json:"note,omitempty"` // why leases are not known
	Failed  []leaseReport  `json:"failed"`         // that could not be ended
	Leases  []leaseReport  `json:"leases,omitempty"`
}

// serverReport is one server with credential: vault, or one that has leases and is no more.
type serverReport struct {
	Name     string `json:"name"`
	Engine   string `json:"engine"`
	Per      string `json:"per,omitempty"`
	Path     string `json:"path"`
	Role     string `json:"role,omitempty"`
	Held     int    `json:"leases"`
	Failed   int    `json:"leases_failed"`
	Gone     bool   `json:"not_configured,omitempty"`
	KeyAge   int64  `json:"key_age_seconds,omitempty"`
	KeyState string `json:"key_state,omitempty"` // good, old, refused, unknown
	Key      string `json:"key,omitempty"`       // that in words
}

// leaseReport is one lease.
type leaseReport struct {
	ID       string    `json:"id"`
	Lease    string    `json:"lease,omitempty"`
	Server   string    `json:"server"`
	Subject  string    `json:"subject"`
	Client   string    `json:"client"`
	Holder   string    `json:"holder,omitempty"`
	State    string    `json:"state"` // held, failed, ending, left behind
	Created  time.Time `json:"created_at"`
	Expires  time.Time `json:"expires_at"`
	Attempts int       `json:"attempts,omitempty"`
	Failure  string    `json:"failure,omitempty"`
	Next     time.Time `json:"next_at,omitzero"`
	EndedBy  string    `json:"ended_by,omitempty"`
}

// fine is a state without a reason.
const fine = "ok"

func (f statusFlags) run(ctx context.Context, h houseConfig, stdout io.Writer) (err error) {
	if h.Vault == nil || len(h.Legacy) == 0 {
		return errNoVault
	}
	t, err := openVaultTool(ctx, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	report, err := t.report(ctx, time.Now())
	if err != nil {
		return err
	}
	if !f.leases {
		report.Leases = nil
	}
	if f.json {
		return printVaultJSON(stdout, report)
	}
	return report.print(stdout, f.leases, time.Now())
}

func (t *vaultTool) report(ctx context.Context, now time.Time) (vaultReport, error) {
	r := vaultReport{Address: t.cfg.Vault.Address, Method: t.cfg.Vault.Login.Method, Health: fine, Login: fine}
	for _, u := range t.legacy() {
		l := t.cfg.Legacy[u.Name]
		r.Servers = append(r.Servers, serverReport{Name: u.Name, Engine: l.Engine, Per: l.Per, Path: l.Path, Role: l.Role})
	}
	all, err := t.store.Leases(ctx)
	switch {
	case errors.Is(err, vaultbridge.ErrUnmigrated):
		r.Note = vaultbridge.ErrUnmigrated.Error()
	case err != nil:
		return r, err
	}
	for _, one := range all {
		r.add(one, now)
	}
	t.ask(ctx, &r)
	return r, nil
}

func (r *vaultReport) add(one vaultbridge.Record, now time.Time) {
	s := r.server(one)
	l := leaseReport{ID: one.ID, Lease: one.Lease, Server: one.Server, Subject: one.Subject, Client: one.Client, Holder: one.Holder, State: leaseState(one, now),
		Created: one.Created, Expires: one.Expires, Attempts: one.Attempts, Failure: one.Failure, Next: one.Next, EndedBy: one.EndedBy}
	r.Leases = append(r.Leases, l)
	if one.Attempts > 0 {
		s.Failed++
		r.Failed = append(r.Failed, l)
	} else {
		s.Held++
	}
}

// leaseState is how a lease stands, as far as its record tells.
func leaseState(r vaultbridge.Record, now time.Time) string {
	switch {
	case r.Attempts > 0:
		return "failed"
	case r.EndedBy != "":
		return "ending"
	case r.Held.Before(now):
		return "left behind"
	}
	return "held"
}

// server is that of a lease, which the configuration may have no more.
func (r *vaultReport) server(one vaultbridge.Record) *serverReport {
	for i, s := range r.Servers {
		if s.Name == one.Server {
			return &r.Servers[i]
		}
	}
	r.Servers = append(r.Servers, serverReport{Name: one.Server, Engine: one.Engine, Path: one.Path, Gone: true})
	return &r.Servers[len(r.Servers)-1]
}

// ask finds out in Vault what the store does not know.
func (t *vaultTool) ask(ctx context.Context, r *vaultReport) {
	if err := t.vault.Health(ctx); err != nil {
		r.Health, r.Login = err.Error(), "not tried: Vault does not serve"
		t.keys(ctx, r, vault.Token{}, "Vault does not serve")
		return
	}
	own, err := t.logIn(ctx)
	if err != nil {
		r.Login = err.Error()
	}
	if err == nil || !operatorsToken().IsZero() {
		err = t.openTool(own)
	}
	why := ""
	if err != nil {
		why = err.Error()
	}
	t.keys(ctx, r, own, why)
}

// keys says how old they are, where they have an age, or why that is not known.
func (t *vaultTool) keys(ctx context.Context, r *vaultReport, own vault.Token, why string) {
	for i, u := range t.legacy() {
		s, l := &r.Servers[i], t.cfg.Legacy[u.Name]
		switch engine := vaultbridge.Engine(l.Engine); {
		case engine != vaultbridge.KV && engine != vaultbridge.DatabaseStatic:
			continue
		case strings.Contains(l.Path, "{{"):
			s.unknown("each subject has another one")
		case why != "":
			s.unknown(why)
		default:
			s.aged(l, t.age(ctx, u, own))
		}
	}
}

// keyAge is how old a key is, and why a call would be refused for it.
type keyAge struct {
	age time.Duration
	err error
}

func (t *vaultTool) age(ctx context.Context, u gateway.Upstream, own vault.Token) keyAge {
	login, err := t.forServer(ctx, u, own)
	if err != nil {
		return keyAge{0, err}
	}
	age, err := t.bridge.Age(ctx, u.Name, login)
	return keyAge{age, err}
}

func (s *serverReport) unknown(why string) { s.KeyState, s.Key = "unknown", "unknown: "+why }

func (s *serverReport) aged(l legacyServer, k keyAge) {
	if k.err != nil && k.age == 0 {
		s.unknown(k.err.Error())
		return
	}
	s.KeyAge = int64(k.age / time.Second)
	switch {
	case k.err != nil:
		s.KeyState, s.Key = "refused", spell(k.age)+": refused since "+spell(time.Duration(l.MaxAge))+", rotate it"
	case l.WarnAge > 0 && k.age >= time.Duration(l.WarnAge):
		s.KeyState, s.Key = "old", spell(k.age)+": rotate it, it is refused from "+spell(time.Duration(l.MaxAge))
	default:
		s.KeyState, s.Key = "good", spell(k.age)
	}
}
