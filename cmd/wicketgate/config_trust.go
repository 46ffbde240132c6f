package main

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// TrustedIssuerConfig is another issuer that is believed.
type TrustedIssuerConfig struct {
	// Its iss, to the letter: an https URL, or spiffe://TRUST_DOMAIN.
	Issuer string `yaml:"issuer" required:"true"`

	// https URL of its key set, at a public address.
	JWKSURI string `yaml:"jwks_uri"`

	// Instead of jwks_uri: file with its key set, or with a SPIFFE bundle. A new one counts
	// within a minute.
	JWKSFile string `yaml:"jwks_file"`

	// SPIFFE trust domain whose JWT-SVIDs it signs. Default: that of an issuer that is
	// spiffe://TRUST_DOMAIN.
	TrustDomain string `yaml:"trust_domain" pattern:"^[a-z0-9._-]{1,255}$"`

	// The tenant claim that its tokens must have, of an issuer with several. Absent: tokens
	// with one are refused.
	Tenant string `yaml:"tenant"`

	// What comes before the names of its people in access.yaml and in the audit log.
	// Default: issuer and |, as in https://idp.example.com|alice.
	SubjectPrefix string `yaml:"subject_prefix" pattern:"^[!-~]{2,200}$"`

	// Its people are those who log in, by the same claim and without a prefix: for the very
	// issuer of login only.
	PeopleOfLogin bool `yaml:"people_of_login" default:"false"`

	// Claim that names a person; see login.subject_claim.
	SubjectClaim string `yaml:"subject_claim" enum:"sub,email,preferred_username" default:"sub"`

	// Claim with groups. Absent: none. Its groups count in access.yaml as those of login
	// do: whoever names groups there is asked who is an admin here.
	GroupsClaim string `yaml:"groups_claim"`

	// Further claims that access.yaml may ask about. acr and auth_time count there as those
	// of login do only if they are listed.
	Claims []string `yaml:"claims"`

	// Its access tokens may be exchanged. Absent: they are refused.
	SubjectTokens *SubjectTokensConfig `yaml:"subject_tokens"`

	// Its identity assertions (ID-JAG) are taken: it says which person a client acts for,
	// and nobody is asked for consent.
	IDJAG bool `yaml:"id_jag" default:"false"`

	// Its workloads get tokens as configured clients. Absent: none does.
	Workloads *WorkloadsConfig `yaml:"workloads"`
}

// SubjectTokensConfig is who may exchange access tokens of another issuer, and for what.
type SubjectTokensConfig struct {
	// The one aud that they have. Default: our issuer.
	Audience string `yaml:"audience"`

	// Clients that may exchange them.
	Clients []string `yaml:"clients" required:"true"`

	// Servers that they may be exchanged for.
	Servers []string `yaml:"servers" required:"true"`
}

// WorkloadsConfig is which workloads of another issuer are which clients.
type WorkloadsConfig struct {
	// The one aud that their tokens have. Default: our token endpoint, or our issuer.
	Audience string `yaml:"audience"`

	// How long after its iat a token is taken, whatever its exp: this is how long one that
	// was stolen works.
	MaxAge duration `yaml:"max_age" default:"1h" min:"1m" max:"24h"`

	// The workloads. One that is not listed gets nothing.
	Identities []IdentityConfig `yaml:"identities" required:"true"`
}

// IdentityConfig makes a client of a workload.
type IdentityConfig struct {
	// sub of its tokens. A * stands for one whole segment between colons or slashes, but
	// not for the first: system:serviceaccount:agents:*.
	Subject string `yaml:"subject" required:"true"`

	// Claims that its tokens must have besides.
	Claims []WantedClaimConfig `yaml:"claims"`

	// The id of a client with auth_method workload_identity.
	Client string `yaml:"client" required:"true"`
}

// WantedClaimConfig is a claim with the one value that it must have.
type WantedClaimConfig struct {
	// Its name; dots lead into objects: kubernetes.io.namespace.
	Name string `yaml:"name" required:"true"`

	// Its value, a text.
	Value string `yaml:"value" required:"true"`
}

// trustedIssuers builds the table of them. Servers and clients are checked before.
func (c configCheck) trustedIssuers() {
	proved := map[string]bool{}
	for i, is := range c.s.TrustedIssuers {
		at := fmt.Sprintf("trusted_issuers[%d]", i)
		before := len(c.mistakes)
		if !c.good(at) || !c.trustedIssuer(at, is) {
			continue
		}
		out := federation.Issuer{Name: is.Issuer, JWKSURI: is.JWKSURI, JWKSFile: c.file(is.JWKSFile), TrustDomain: is.TrustDomain, Tenant: is.Tenant,
			Prefix: is.SubjectPrefix, SubjectClaim: is.SubjectClaim, GroupsClaim: is.GroupsClaim, Claims: is.Claims, Grants: is.IDJAG}
		if out.Prefix == "" && !is.PeopleOfLogin {
			out.Prefix = is.Issuer + "|"
		}
		if s := is.SubjectTokens; s != nil {
			out.SubjectTokens = c.subjectTokens(at+".subject_tokens", *s)
		}
		if w := is.Workloads; w != nil {
			out.Workloads = c.identities(at+".workloads", is, *w, proved)
		}
		all := append(c.s.house.TrustedIssuers, out)
		if len(c.mistakes) > before {
			continue // the table would only say them again
		}
		if _, err := federation.New(federation.Config{Issuer: c.s.Issuer, Issuers: all}); err != nil {
			c.refuse(at, "%s: %v", at, err)
			continue
		}
		c.s.house.TrustedIssuers = all
	}
	for i, cl := range c.s.Clients {
		if cl.AuthMethod == oauth.AuthWorkload && !proved[cl.ID] {
			c.refuse(fmt.Sprintf("clients[%d].auth_method", i), "client %s has auth_method workload_identity, but no workload of trusted_issuers is it", cl.ID)
		}
	}
}

// trustedIssuer checks what needs nothing else of the configuration but login.
func (c configCheck) trustedIssuer(at string, is TrustedIssuerConfig) bool {
	login := c.s.Login
	ofLogin := login != nil && login.Issuer == is.Issuer
	switch {
	case federation.CheckName(is.Issuer) != nil:
		c.refuse(at+".issuer", "%s.issuer is %s: %v", at, shown(is.Issuer), federation.CheckName(is.Issuer))
	case (is.JWKSURI == "") == (is.JWKSFile == ""):
		c.refuse(at, "%s needs either jwks_uri or jwks_file, one of the two", at)
	case is.SubjectTokens == nil && !is.IDJAG && is.Workloads == nil:
		c.refuse(at, "%s is trusted for nothing: add subject_tokens, id_jag or workloads, or remove it", at)
	case is.PeopleOfLogin && !ofLogin:
		c.refuse(at+".people_of_login", "%s.people_of_login is for the issuer of login only: others could name anybody of your people", at)
	case is.PeopleOfLogin && (is.SubjectPrefix != "" || is.SubjectClaim != login.SubjectClaim):
		c.refuse(at+".people_of_login", "%s.people_of_login goes without subject_prefix and with the subject_claim of login, %s", at, login.SubjectClaim)
	case ofLogin && is.Workloads != nil && is.Workloads.Audience == login.ClientID:
		c.refuse(at+".workloads.audience", "%s.workloads.audience is the client_id of login: an ID token of a person would be that of a workload", at)
	default:
		return c.issuerKeys(at, is)
	}
	return false
}

func (c configCheck) issuerKeys(at string, is TrustedIssuerConfig) bool {
	if is.JWKSURI != "" {
		u, err := url.Parse(is.JWKSURI)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
			c.refuse(at+".jwks_uri", "%s.jwks_uri must be an https URL: whoever is on the way could be anybody", at)
			return false
		}
		return true
	}
	b, err := os.ReadFile(c.file(is.JWKSFile))
	if err == nil {
		_, err = jws.ParseSet(b, "jwt-svid")
	}
	if err != nil {
		c.refuse(at+".jwks_file", "%s.jwks_file: %v", at, err)
	}
	return err == nil
}

func (c configCheck) subjectTokens(at string, s SubjectTokensConfig) *federation.SubjectTokens {
	out := &federation.SubjectTokens{Audience: s.Audience}
	for i, id := range s.Clients {
		field := fmt.Sprintf("%s.clients[%d]", at, i)
		cl, ok := c.clientNamed(field, id)
		if ok && !slices.Contains(cl.GrantTypes, oauth.GrantTokenExchange) {
			c.refuse(field, "%s is %s, whose grant_types do not have %s", field, id, oauth.GrantTokenExchange)
		}
		if parsed, err := identity.ParseClientID(id); err == nil {
			out.Clients = append(out.Clients, parsed)
		}
	}
	for i, name := range s.Servers {
		found := slices.IndexFunc(c.s.Servers, func(s ServerConfig) bool { return s.Name == name })
		r, err := oauth.ParseResource(c.s.Issuer + "/mcp/" + name)
		if found < 0 || err != nil {
			c.refuse(fmt.Sprintf("%s.servers[%d]", at, i), "%s.servers[%d] is %s, which is none of servers", at, i, shown(name))
			continue
		}
		out.Resources = append(out.Resources, r)
	}
	if len(s.Clients) == 0 || len(s.Servers) == 0 {
		c.refuse(at, "%s lists no client, or no server: nobody could exchange anything; remove it", at)
	}
	return out
}

// clientNamed finds a configured client.
func (c configCheck) clientNamed(at, id string) (ClientConfig, bool) {
	for _, cl := range c.s.Clients {
		if cl.ID == id {
			return cl, true
		}
	}
	c.refuse(at, "%s is %s, which is none of clients", at, shown(id))
	return ClientConfig{}, false
}

func (c configCheck) identities(at string, is TrustedIssuerConfig, w WorkloadsConfig, proved map[string]bool) *federation.Workloads {
	out := &federation.Workloads{Audience: w.Audience, MaxAge: time.Duration(w.MaxAge)}
	domain := is.TrustDomain
	if name, ok := strings.CutPrefix(is.Issuer, "spiffe://"); ok && domain == "" {
		domain = name
	}
	for i, id := range w.Identities {
		field := fmt.Sprintf("%s.identities[%d]", at, i)
		cl, ok := c.clientNamed(field+".client", id.Client)
		if ok && cl.AuthMethod != oauth.AuthWorkload {
			c.refuse(field+".client", "%s.client is %s, whose auth_method is not workload_identity", field, id.Client)
		}
		if err := federation.CheckPattern(id.Subject, domain); err != nil {
			c.refuse(field+".subject", "%s.subject: %v", field, err)
		}
		client, err := identity.ParseClientID(id.Client)
		if err != nil {
			continue // noted where the client is
		}
		proved[id.Client] = true
		one := federation.Identity{Subject: id.Subject, Client: client}
		for _, claim := range id.Claims {
			one.Claims = append(one.Claims, federation.Claim{Name: claim.Name, Value: claim.Value})
		}
		out.Identities = append(out.Identities, one)
	}
	if len(w.Identities) == 0 {
		c.refuse(at, "%s lists no identities: remove it", at)
	}
	return out
}
