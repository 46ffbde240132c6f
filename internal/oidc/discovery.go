package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	metadataLifetime = 24 * time.Hour // then the IdP is asked again; what it said before serves while that fails
	firstRetry       = time.Second
	lastRetry        = 30 * time.Second // the longest that an IdP that is back again is not noticed
)

var (
	// asymmetric are the algorithms that a configuration may allow: none that is
	// keyed with our client secret (HS256) or with nothing (none).
	asymmetric = []string{
		gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.PS256, gooidc.PS384, gooidc.PS512,
		gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.EdDSA,
	}
	usual = []string{gooidc.RS256, gooidc.PS256, gooidc.ES256, gooidc.EdDSA}
)

// metadata is what we need of the IdP's discovery document (OpenID Connect
// Discovery 1.0 §3).
type metadata struct {
	endpoint   oauth2.Endpoint
	algorithms []string
	saysIss    bool // RFC 9207 §3
	keys       gooidc.KeySet
}

// discovery is what we know of the IdP.
type discovery struct {
	turn chan struct{} // holds one token; who has it may use what is below

	known    *metadata
	next     time.Time // not asked before this
	failures int       // in a row
	err      error     // of the last time
}

func newDiscovery() discovery {
	d := discovery{turn: make(chan struct{}, 1)}
	d.turn <- struct{}{}
	return d
}

// metadata returns what the IdP says of itself, from the IdP if need be. One login
// asks, the others wait for it.
func (p *Provider) metadata(ctx context.Context) (*metadata, error) {
	d := &p.discovery
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, unavailable(fmt.Errorf("wait for discovery: %w", ctx.Err()))
	}
	if now := p.cfg.Now(); !now.Before(d.next) {
		p.discoverAgain(ctx, now)
	}
	if d.known == nil {
		return nil, unavailable(fmt.Errorf("discover the identity provider (next try at %s): %w", d.next.UTC().Format(time.RFC3339), d.err))
	}
	return d.known, nil
}

// discoverAgain notes what came of it, and when to ask again.
func (p *Provider) discoverAgain(ctx context.Context, now time.Time) {
	d := &p.discovery
	ctx = context.WithoutCancel(ctx) // a person who goes away is no failure of the IdP; the client has a timeout
	found, err := p.discover(ctx)
	if err != nil {
		d.failures++
		wait := min(firstRetry<<min(d.failures-1, 10), lastRetry)
		d.err, d.next = clip(err), now.Add(wait)
		p.cfg.Log.LogAttrs(ctx, slog.LevelError, "the identity provider cannot be used: check that its issuer is right and that this machine reaches it",
			slog.String("issuer", p.cfg.Issuer), slog.Any("error", d.err), slog.Duration("retry", wait), slog.Bool("known", d.known != nil))
		return
	}
	d.known, d.err, d.failures, d.next = found, nil, 0, now.Add(metadataLifetime)
	p.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "the identity provider was found", slog.String("issuer", p.cfg.Issuer))
}

func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	found, err := gooidc.NewProvider(gooidc.ClientContext(ctx, p.client), p.cfg.Issuer)
	if err != nil {
		return nil, err
	}
	var doc struct {
		JWKSURI     string   `json:"jwks_uri"`
		Algorithms  []string `json:"id_token_signing_alg_values_supported"`
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		SaysIss     bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&doc); err != nil {
		return nil, fmt.Errorf("read the discovery document: %w", err)
	}
	m := &metadata{endpoint: found.Endpoint(), saysIss: doc.SaysIss}
	for name, u := range map[string]string{"authorization_endpoint": m.endpoint.AuthURL, "token_endpoint": m.endpoint.TokenURL, "jwks_uri": doc.JWKSURI} {
		if err := checkURL(u, isLoopback(p.cfg.Issuer)); err != nil {
			return nil, fmt.Errorf("%s of the discovery document: %w", name, err)
		}
	}
	if m.algorithms, err = p.algorithms(doc.Algorithms); err != nil {
		return nil, err
	}
	if m.endpoint.AuthStyle, err = p.authStyle(doc.AuthMethods); err != nil {
		return nil, err
	}
	m.keys = p.newKeySet(ctx, doc.JWKSURI)
	return m, nil
}

func (p *Provider) algorithms(offered []string) ([]string, error) {
	if len(p.cfg.AllowedAlgorithms) > 0 {
		return p.cfg.AllowedAlgorithms, nil
	}
	if len(offered) == 0 {
		return []string{gooidc.RS256}, nil // which every IdP must have (Discovery §3)
	}
	both := slices.DeleteFunc(slices.Clone(usual), func(alg string) bool { return !slices.Contains(offered, alg) })
	if len(both) == 0 {
		return nil, fmt.Errorf("the identity provider signs with none of %v", usual)
	}
	return both, nil
}

// authStyle says how we prove who we are. It is never found out by trying: the
// first try would spend the code.
func (p *Provider) authStyle(offered []string) (oauth2.AuthStyle, error) {
	switch {
	case p.cfg.ClientSecret.IsZero():
		return oauth2.AuthStyleInParams, nil // just the client_id
	case len(offered) == 0 || slices.Contains(offered, "client_secret_basic"): // Discovery §3: the default
		return oauth2.AuthStyleInHeader, nil
	case slices.Contains(offered, "client_secret_post"):
		return oauth2.AuthStyleInParams, nil
	}
	return 0, errors.New("the identity provider takes neither client_secret_basic nor client_secret_post")
}
