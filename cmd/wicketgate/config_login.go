package main

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/oidc"
	"github.com/wicketgate/wicketgate/internal/postgres"
)

// login builds what is needed to log in at the IdP.
func (c configCheck) login() {
	l := c.s.Login
	if l == nil && c.s.Exchange != nil {
		return // people log in elsewhere
	}
	if l == nil {
		c.note("no login is configured: nobody can log in, only workloads (clients with client_credentials) get tokens")
		return
	}
	if !c.good("login.issuer") || !c.good("login.client_id") {
		return
	}
	secret, ok := "", true
	if l.ClientSecretFile != "" {
		secret, ok = c.secretFile("login.client_secret_file", l.ClientSecretFile)
	} else {
		c.note("login.client_secret_file is not set: Wicketgate is a public client of the IdP")
	}
	if !ok {
		return
	}
	if l.SubjectClaim != "sub" {
		c.note("login.subject_claim is %s: whoever can change that claim at the IdP becomes somebody else here", l.SubjectClaim)
	}
	cfg := oidc.Config{Issuer: l.Issuer, ClientID: l.ClientID, ClientSecret: oidc.NewSecret(secret), RedirectURI: c.s.Issuer + authz.PathCallback,
		Scopes: l.Scopes, SubjectClaim: l.SubjectClaim, GroupsClaim: l.GroupsClaim, Claims: l.Claims, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	if _, err := oidc.New(cfg); err != nil {
		c.refuse("login", "login: %v", err)
		return
	}
	c.s.house.Login = &cfg
}

// secretFile reads a secret that others must not be able to read.
func (c configCheck) secretFile(at, name string) (string, bool) {
	path := c.file(name)
	if err := privateFile(path); err != nil {
		c.refuse(at, "%s: %v", at, err)
		return "", false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		c.refuse(at, "%s: %v", at, err)
		return "", false
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" {
		c.refuse(at, "%s: %s is empty", at, path)
	}
	return secret, secret != ""
}

func (c configCheck) registration() {
	r := c.s.Registration
	c.s.house.Registration = authz.Registration{Off: !r.Dynamic, NoDocuments: !r.Documents, PerMinute: r.PerMinute, MaxUnused: r.MaxUnused, Unused: time.Duration(r.Unused)}
}

func (c configCheck) ages() {
	a := c.s.Ages
	if a.SecretWarn > a.SecretMax {
		c.refuse("ages.secret_warn", "ages.secret_warn is longer than ages.secret_max: nobody would be warned")
	}
	if a.KeyWarn > a.KeyMax {
		c.refuse("ages.key_warn", "ages.key_warn is longer than ages.key_max: nobody would be warned")
	}
	c.s.house.Algorithm = c.s.TokenAlgorithm
	c.s.house.Ages = ages{SecretWarn: time.Duration(a.SecretWarn), SecretMax: time.Duration(a.SecretMax), KeyWarn: time.Duration(a.KeyWarn), KeyMax: time.Duration(a.KeyMax)}
}

// certificates checks what clients that authenticate by certificate need.
func (c configCheck) certificates() {
	s := c.s
	byCertificate := s.MutualTLS != nil || s.TrustedProxies != nil && s.TrustedProxies.ClientCertificate != ""
	if s.TrustedProxies != nil {
		s.proxies.ClientCertificate = s.TrustedProxies.ClientCertificate
	}
	if s.ClientCA != "" {
		pool, err := readCAs(c.file(s.ClientCA))
		if err != nil {
			c.refuse("client_ca", "client_ca: %v", err)
		}
		s.house.ClientCAs = pool
	}
	if m := s.MutualTLS; m != nil {
		c.mutualTLS(m)
	}
	for i, cl := range s.Clients {
		at := fmt.Sprintf("clients[%d]", i)
		if cl.CertificateBound && !byCertificate {
			c.refuse(at+".tls_client_certificate_bound_access_tokens", "%s.tls_client_certificate_bound_access_tokens is true, but no certificate can reach this server: configure mutual_tls, or trusted_proxies.client_certificate", at)
		}
		switch {
		case !slices.Contains([]string{oauth.AuthTLS, oauth.AuthSelfSignedTLS, oauth.AuthSPIFFEX509}, cl.AuthMethod):
		case !byCertificate:
			c.refuse(at+".auth_method", "%s.auth_method is %s, but no certificate can reach this server: configure mutual_tls, or trusted_proxies.client_certificate", at, cl.AuthMethod)
		case cl.AuthMethod == oauth.AuthTLS && s.ClientCA == "":
			c.refuse(at+".auth_method", "%s.auth_method is tls_client_auth, but client_ca is not set: nobody could check a certificate", at)
		}
	}
	s.house.Certificates = byCertificate
}

func (c configCheck) mutualTLS(m *MutualTLSConfig) {
	if _, ok := c.address("mutual_tls.listen", m.Listen); !ok || !c.good("mutual_tls.url") {
		return
	}
	u, err := url.Parse(m.URL)
	switch {
	case !m.SVID && c.s.TLS == nil:
		c.refuse("mutual_tls", "mutual_tls needs tls, whose certificate is shown there too, or svid: true")
	case m.Listen == c.s.Listen && !strings.HasSuffix(m.Listen, ":0"):
		c.refuse("mutual_tls.listen", "mutual_tls.listen is the address of listen: browsers would be asked for certificates")
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != m.URL:
		c.refuse("mutual_tls.url", "mutual_tls.url is %s: write https://HOST[:PORT], without path and trailing slash", shown(m.URL))
	default:
		c.s.house.MutualTLS = m.URL
		if cert := c.s.certificate; !m.SVID && cert != nil && cert.current.Leaf.VerifyHostname(u.Hostname()) != nil {
			c.note("the certificate is not for %s, the host of mutual_tls.url: clients will refuse it", u.Hostname())
		}
	}
	if m.SVID {
		c.needsOwn("mutual_tls.svid")
	} else if t := c.s.TLS; t != nil && t.SVID {
		c.refuse("mutual_tls.svid", "tls.svid is true, so mutual_tls.svid must be: they show the same certificate")
	}
}

func readCAs(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s has no certificate in PEM", path)
	}
	return pool, nil
}

// store picks the store.
func (c configCheck) store() {
	s := c.s.Store
	p := s.Postgres
	switch {
	case p == nil:
		return
	case s.SQLite != nil:
		c.refuse("store", "store has both sqlite and postgres: keep one")
		return
	case !c.good("store.postgres.url"):
		return
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		c.refuse("store.postgres.url", "store.postgres.url is no URL: write postgres://USER@HOST/DATABASE?sslmode=verify-full (it is not shown: it may hold a secret)")
		return
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") {
		c.refuse("store.postgres.url", "store.postgres.url holds a password: put that in a file, and name the file in store.postgres.password_file")
		return
	}
	if p.PasswordFile != "" {
		password, ok := c.secretFile("store.postgres.password_file", p.PasswordFile)
		if !ok {
			return
		}
		u.User = url.UserPassword(u.User.Username(), password)
	}
	cfg := postgres.Config{URL: u.String(), MaxConns: int32(p.MaxConnections), Migrate: p.Migrate}
	if err := cfg.Check(); err != nil {
		c.refuse("store.postgres.url", "store.postgres.url: %v", err)
		return
	}
	if c.s.Audit.Name == "" {
		c.refuse("audit.name", "audit.name is missing: replicas share the database, and each needs a name of its own for its audit log")
	}
	c.s.house.Store.Postgres = &cfg
}

// client completes a configured client with how it authenticates and what for.
func (c configCheck) client(at string, cl ClientConfig, out *authz.Client) {
	out.AuthMethod, out.RedirectURIs = cl.AuthMethod, cl.RedirectURIs
	hasSecret, hasKeys := cl.SecretFile != "" || cl.SecretSHA256 != "", cl.JWKSFile != "" || cl.JWKSURI != ""
	if cl.AuthMethod == "client_secret" {
		out.AuthMethod = oauth.AuthBasic
		out.SecretHash = c.secret(at, cl)
	} else if hasSecret {
		c.refuse(at, "%s has a secret, but auth_method is %s: remove one of the two", at, cl.AuthMethod)
	}
	needsKeys := cl.AuthMethod == oauth.AuthPrivateKeyJWT || cl.AuthMethod == oauth.AuthSelfSignedTLS
	switch {
	case needsKeys && (cl.JWKSFile == "") == (cl.JWKSURI == ""):
		c.refuse(at, "%s.auth_method is %s, which needs either jwks_file or jwks_uri, one of the two", at, cl.AuthMethod)
	case !needsKeys && hasKeys:
		c.refuse(at, "%s has keys, but auth_method is %s, which uses none", at, cl.AuthMethod)
	case needsKeys:
		c.keys(at, cl, out)
	}
	if (cl.AuthMethod == oauth.AuthTLS) != (cl.TLSName != "") {
		c.refuse(at, "%s: tls_name and auth_method tls_client_auth go together", at)
	}
	if cl.AssertionAudience != "" && cl.AuthMethod != oauth.AuthPrivateKeyJWT {
		c.refuse(at+".assertion_audience", "%s.assertion_audience is for auth_method private_key_jwt", at)
	}
	out.AssertionAudience, out.TLSName = cl.AssertionAudience, cl.TLSName
	if cl.AuthMethod == oauth.AuthWorkload { // which proves the client for that grant, and no other
		if _, written := c.nodes[at+".grant_types"]; written || len(cl.RedirectURIs) > 0 || cl.ResourceServer != "" {
			c.refuse(at, "%s.auth_method is workload_identity: leave out grant_types, redirect_uris and resource_server, it gets tokens with %s and does nothing else", at, oauth.GrantJWTBearer)
		}
		cl.GrantTypes = []string{oauth.GrantJWTBearer}
		out.GrantTypes = cl.GrantTypes
	}
	c.gateway(at, &cl, out)
	c.grants(at, cl)
	c.resourceServer(at, cl, out.ID)
	c.actsFor(at, cl, out.ID)
}

func (c configCheck) keys(at string, cl ClientConfig, out *authz.Client) {
	if cl.JWKSURI != "" {
		if u, err := url.Parse(cl.JWKSURI); err != nil || u.Scheme != "https" || u.Host == "" {
			c.refuse(at+".jwks_uri", "%s.jwks_uri must be an https URL", at)
		}
		out.JWKSURI = cl.JWKSURI
		return
	}
	b, err := os.ReadFile(c.file(cl.JWKSFile))
	if err == nil {
		_, err = jws.ParseSet(b)
	}
	if err != nil {
		c.refuse(at+".jwks_file", "%s.jwks_file: %v", at, err)
	}
	out.JWKS = b
}

// resourceServer notes whose tokens the client may introspect.
func (c configCheck) resourceServer(at string, cl ClientConfig, id identity.ClientID) {
	if cl.ResourceServer == "" {
		return
	}
	for _, u := range c.s.house.Upstreams {
		if u.Name == cl.ResourceServer {
			if c.s.house.ResourceServers == nil {
				c.s.house.ResourceServers = map[identity.ClientID][]string{}
			}
			c.s.house.ResourceServers[id] = []string{u.Resource.String(), u.Audience.String()}
			return
		}
	}
	c.refuse(at+".resource_server", "%s.resource_server is %s, which is none of servers", at, shown(cl.ResourceServer))
}

// grants checks what the client may ask for.
func (c configCheck) grants(at string, cl ClientConfig) {
	offered := []string{oauth.GrantClientCredentials, oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantDeviceCode, oauth.GrantTokenExchange, oauth.GrantJWTBearer}
	assertions := slices.ContainsFunc(c.s.TrustedIssuers, func(is TrustedIssuerConfig) bool { return is.IDJAG })
	for i, g := range cl.GrantTypes {
		field := fmt.Sprintf("%s.grant_types[%d]", at, i)
		switch {
		case !slices.Contains(offered, g):
			c.refuse(field, "%s is %s: write %s", field, shown(g), strings.Join(offered, " or "))
		case cl.AuthMethod == oauth.AuthNone && (g == oauth.GrantClientCredentials || g == oauth.GrantTokenExchange || g == oauth.GrantJWTBearer):
			c.refuse(field, "%s is %s, which is for clients that prove who they are, and auth_method is none", field, g)
		case g == oauth.GrantJWTBearer && !assertions && cl.AuthMethod != oauth.AuthWorkload:
			c.refuse(field, "%s is %s, but no issuer of trusted_issuers has id_jag: nobody could assert anything", field, g)
		}
	}
	code := slices.Contains(cl.GrantTypes, oauth.GrantAuthorizationCode)
	if code != (len(cl.RedirectURIs) > 0) {
		c.refuse(at, "%s: redirect_uris and the grant type authorization_code go together", at)
	}
	for i, u := range cl.RedirectURIs {
		if err := authz.CheckRedirectURI(u, customSchemes); err != nil {
			field := fmt.Sprintf("%s.redirect_uris[%d]", at, i)
			c.refuse(field, "%s is %s: %v", field, shown(u), err)
		}
	}
	c.scopes(at, cl)
}
