package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/spiffe"
)

// SPIFFEConfig is whose workloads are believed, and where our own SVID comes from.
type SPIFFEConfig struct {
	// Socket of the agent's Workload API: unix:///run/spire/agent/api.sock. Needed for an
	// X.509-SVID of our own, and for trust domains without a bundle from elsewhere. Absent:
	// there is none, whatever SPIFFE_ENDPOINT_SOCKET says.
	WorkloadAPI string `yaml:"workload_api"`

	// Trust domains whose workloads may be clients and servers. SVIDs of others are refused,
	// whatever the agent federates with.
	TrustDomains []TrustDomainConfig `yaml:"trust_domains" required:"true"`
}

// TrustDomainConfig is a trust domain, with where its bundle comes from: one of the two,
// or the Workload API.
type TrustDomainConfig struct {
	// example.org
	Name string `yaml:"name" required:"true"`

	// https URL of its bundle endpoint, which proves itself by Web PKI (profile https_web).
	// It is asked as often as the bundle says. A bundle that could not be renewed for a day
	// counts for nothing.
	BundleEndpoint string `yaml:"bundle_endpoint"`

	// File with its bundle, in the format of SPIFFE: spire-server bundle show -format spiffe
	// prints it. A new one counts within ten seconds.
	BundleFile string `yaml:"bundle_file"`
}

// spiffe checks the trust domains.
func (c configCheck) spiffe() {
	f := c.s.SPIFFE
	if f == nil {
		return
	}
	out := &spiffe.Config{WorkloadAPI: f.WorkloadAPI, Now: time.Now}
	if err := (spiffe.Config{WorkloadAPI: out.WorkloadAPI}).Check(); err != nil {
		c.refuse("spiffe.workload_api", "spiffe.workload_api: %v", err)
		out.WorkloadAPI = "unix:///refused" // what needs one is not wrong as well
	}
	for i, d := range f.TrustDomains {
		at := fmt.Sprintf("spiffe.trust_domains[%d]", i)
		if !c.good(at + ".name") {
			continue
		}
		domain := spiffe.Domain{Name: d.Name, Endpoint: d.BundleEndpoint, File: c.file(d.BundleFile)}
		so := spiffe.Config{WorkloadAPI: out.WorkloadAPI, Domains: append(slices.Clone(out.Domains), domain)}
		if err := so.Check(); err != nil {
			c.refuse(at, "%s: %v", at, err)
			continue
		}
		if domain.File != "" {
			if err := spiffe.ReadBundle(d.Name, domain.File); err != nil {
				c.refuse(at+".bundle_file", "%s.bundle_file: %v", at, err)
			}
		}
		out.Domains = so.Domains
	}
	if len(f.TrustDomains) == 0 {
		c.refuse("spiffe.trust_domains", "spiffe.trust_domains is empty: nobody could prove anything; list a trust domain, or remove spiffe")
	}
	c.s.house.SPIFFE = out
}

// needsOwn refuses a field that needs an X.509-SVID of our own where there can be none.
func (c configCheck) needsOwn(at string) {
	if f := c.s.house.SPIFFE; f == nil || f.WorkloadAPI == "" {
		c.refuse(at, "%s needs an X.509-SVID of our own: configure spiffe.workload_api", at)
	}
}

// serverID notes by which SPIFFE ID a server is known.
func (c configCheck) serverID(at string, s ServerConfig) {
	if s.SPIFFEID == "" {
		return
	}
	at += ".spiffe_id"
	id, err := identity.ParseSPIFFEID(s.SPIFFEID)
	switch {
	case err != nil:
		c.refuse(at, "%s is %s: %v", at, shown(s.SPIFFEID), err)
		return
	case !strings.HasPrefix(s.URL, "https://"):
		c.refuse(at, "%s: url is no https URL: mutual TLS is spoken there", at)
	}
	c.needsOwn(at)
	c.trustDomain(at, id.TrustDomain())
	if c.s.house.ServerIDs == nil {
		c.s.house.ServerIDs = map[string]identity.SPIFFEID{}
	}
	c.s.house.ServerIDs[s.Name] = id
}

// trustDomain refuses one that is not configured. What is wrong with one that is, was said.
func (c configCheck) trustDomain(at, name string) {
	if f := c.s.SPIFFE; f == nil || !slices.ContainsFunc(f.TrustDomains, func(d TrustDomainConfig) bool { return d.Name == name }) {
		c.refuse(at, "%s is of trust domain %s, which is none of spiffe.trust_domains: its SVIDs would be refused", at, name)
	}
}

// spiffeMethods are the methods of clients that prove themselves by an SVID.
var spiffeMethods = []string{oauth.AuthSPIFFE, oauth.AuthSPIFFEX509, oauth.AuthSPIFFEJWT}

// workloads checks the clients that are workloads of SPIFFE.
func (c configCheck) workloads() {
	var all []identity.Pattern
	for i, cl := range c.s.Clients {
		at := fmt.Sprintf("clients[%d].id", i)
		p, err := identity.ParsePattern(cl.ID)
		switch {
		case !slices.Contains(spiffeMethods, cl.AuthMethod):
			if err == nil && p.Any() {
				c.refuse(at, "%s is %s, a pattern of SPIFFE IDs, but auth_method is %s: write spiffe", at, shown(cl.ID), cl.AuthMethod)
			}
			continue
		case err != nil:
			c.refuse(at, "%s is %s, but auth_method is %s: %v", at, shown(cl.ID), cl.AuthMethod, err)
			continue
		}
		c.trustDomain(at, p.TrustDomain())
		for _, other := range all {
			if p.Any() && other.Any() && p.Overlaps(other) {
				c.refuse(at, "%s is %s, which overlaps with %s: a workload would be two clients; a SPIFFE ID without * may be both, and is then the client that names it", at, p, other)
			}
		}
		all = append(all, p)
		if p.Any() {
			c.manyWorkloads(fmt.Sprintf("clients[%d]", i), cl)
		}
	}
}

// manyWorkloads keeps from a pattern what is for one client.
func (c configCheck) manyWorkloads(at string, cl ClientConfig) {
	if cl.ResourceServer != "" {
		c.refuse(at+".resource_server", "%s.resource_server is for one client: name its SPIFFE ID", at)
	}
	for i, g := range cl.GrantTypes {
		if g != oauth.GrantClientCredentials && g != oauth.GrantTokenExchange {
			field := fmt.Sprintf("%s.grant_types[%d]", at, i)
			c.refuse(field, "%s is %s: a pattern is for client_credentials and %s; name the SPIFFE ID of who needs more", field, g, oauth.GrantTokenExchange)
		}
	}
}
