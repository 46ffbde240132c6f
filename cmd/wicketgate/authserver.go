package main

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/oidc"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/metadata"
)

// identityProvider is where people log in; nil without a configured one.
func identityProvider(cfg houseConfig) (authz.IdentityProvider, error) {
	if cfg.Login == nil {
		return nil, nil
	}
	login := *cfg.Login
	login.Log = cfg.Log
	p, err := oidc.New(login)
	if err != nil {
		return nil, err // not the typed nil
	}
	return p, nil
}

// guarded is metadata.Fetcher as package jws wants it.
type guarded struct{ *metadata.Fetcher }

// Get implements jws.Fetcher.
func (g guarded) Get(ctx context.Context, url string, maxBytes int64) ([]byte, time.Time, error) {
	f, err := g.Fetcher.Get(ctx, url, maxBytes)
	return f.Body, f.Fresh, err
}

// fetcher gets what clients point at. On loopback it may go there too: nobody else
// can have it go anywhere.
func fetcher(cfg houseConfig) jws.Fetcher {
	u, err := url.Parse(cfg.Issuer)
	return guarded{metadata.NewFetcher(metadata.FetcherConfig{InsecureLoopback: err == nil && isLoopback(u.Hostname())})}
}

// trustedIssuers is the table of other issuers, empty if none is configured.
func trustedIssuers(cfg houseConfig, resources oauth.Resources, isClient func(context.Context, identity.ClientID) (bool, error)) (*federation.Table, error) {
	return federation.New(federation.Config{Issuer: cfg.Issuer, TokenEndpoint: cfg.Issuer + authz.PathToken, Issuers: cfg.TrustedIssuers,
		Fetcher: fetcher(cfg), Resources: resources, Now: time.Now, IsClient: isClient})
}

// authMethods is how clients may authenticate: by certificate only where one can
// arrive, and by one of a PKI only with its authorities.
func authMethods(cfg houseConfig, as *authz.Server) []string {
	methods := slices.DeleteFunc(as.AuthMethods(), func(m string) bool {
		return m == oauth.AuthTLS || m == oauth.AuthSelfSignedTLS || m == oauth.AuthSPIFFEX509 && !cfg.Certificates
	})
	if cfg.Certificates && cfg.ClientCAs != nil {
		methods = append(methods, oauth.AuthTLS)
	}
	if cfg.Certificates {
		methods = append(methods, oauth.AuthSelfSignedTLS)
	}
	return methods
}

// documents is what the metadata says: each process tells of what it serves.
func (h *house) documents(cfg houseConfig) metadata.Config {
	var doc metadata.Config
	if h.authz != nil {
		doc.Server, doc.JWKS = serverDocument(cfg, h.authz), func() any { return h.ring.JWKS() }
	}
	if h.gateway == nil {
		return doc
	}
	if !cfg.NoConsole {
		doc.Beside = append(doc.Beside, metadata.ProtectedResource{Resource: consoleResource(cfg).String(), AuthorizationServers: []string{cfg.Issuer},
			ScopesSupported: []string{oauth.ScopeApprovals}, BearerMethods: []string{"header"}, Name: "approvals"})
	}
	if all := everyServer(cfg); !all.IsZero() {
		doc.Beside = append(doc.Beside, metadata.ProtectedResource{Resource: all.String(), AuthorizationServers: []string{cfg.Issuer},
			ScopesSupported: oauth.DefaultScopes(), BearerMethods: []string{"header"}, Name: "every server", DPoPAlgs: dpop.Algs(), CertificateBound: cfg.Certificates})
	}
	for _, u := range cfg.Upstreams {
		doc.Resources = append(doc.Resources, metadata.ProtectedResource{Resource: u.Resource.String(), AuthorizationServers: []string{cfg.Issuer},
			ScopesSupported: oauth.DefaultScopes(), BearerMethods: []string{"header"}, Name: u.Name,
			DPoPAlgs: dpop.Algs(), CertificateBound: cfg.Certificates, DPoPRequired: u.SenderConstrained && !cfg.Certificates})
	}
	return doc
}

func serverDocument(cfg houseConfig, as *authz.Server) metadata.AuthorizationServer {
	at := func(path string) string { return cfg.Issuer + path }
	methods, algs := authMethods(cfg, as), as.AssertionAlgs()
	server := metadata.AuthorizationServer{
		Issuer:                cfg.Issuer,
		AuthorizationEndpoint: at(authz.PathAuthorize),
		TokenEndpoint:         at(authz.PathToken),
		PAREndpoint:           at(authz.PathPAR),
		DeviceEndpoint:        at(authz.PathDeviceAuthorization),
		RevocationEndpoint:    at(authz.PathRevoke),
		IntrospectionEndpoint: at(authz.PathIntrospect),
		JWKSURI:               at(metadata.PathJWKS),
		ScopesSupported:       oauth.DefaultScopes(),
		ResponseTypes:         []string{"code"}, ResponseModes: []string{"query"},
		GrantTypes:               as.GrantTypes(),
		GrantProfiles:            as.GrantProfiles(),
		TokenAuthMethods:         methods,
		TokenAuthSigningAlgs:     algs,
		RevocationSigningAlgs:    algs,
		IntrospectionSigningAlgs: algs,
		RevocationAuthMethods:    methods,
		IntrospectionAuthMethods: methods[1:], // without none, which comes first
		CodeChallengeMethods:     []string{"S256"}, AuthorizationDetails: []string{token.DetailsToolCall},
		PromptValues:           []string{"none", "login", "consent", "select_account"},
		IssInResponseSupported: true,
		CIMDSupported:          as.DocumentsOffered(),
		DPoPAlgs:               dpop.Algs(), CertificateBound: cfg.Certificates,
	}
	if as.RegistrationOffered() {
		server.RegistrationEndpoint = at(authz.PathRegister)
	}
	if cfg.MutualTLS != "" {
		server.MTLSAliases = &metadata.MTLSAliases{TokenEndpoint: cfg.MutualTLS + authz.PathToken, RevocationEndpoint: cfg.MutualTLS + authz.PathRevoke,
			IntrospectionEndpoint: cfg.MutualTLS + authz.PathIntrospect, PAREndpoint: cfg.MutualTLS + authz.PathPAR,
			DeviceEndpoint: cfg.MutualTLS + authz.PathDeviceAuthorization}
	}
	return server
}
