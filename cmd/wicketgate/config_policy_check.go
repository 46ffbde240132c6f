package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/opaclient"
	"github.com/wicketgate/wicketgate/policies"
)

// policy checks where policy comes from, and compiles what is in files; its mistakes have
// their own places.
func (c configCheck) policy(ctx context.Context) {
	p, h := c.s.PDP, &c.s.house
	if !c.whole("policy") || !c.whole("pdp") {
		return
	}
	switch {
	case p.Bundle != nil && p.OPA != nil:
		c.refuse("pdp.opa", "pdp has a bundle and opa: keep the one that decides")
	case p.Bundle != nil && c.s.Policy != "":
		c.refuse("pdp.bundle", "pdp.bundle takes the place of policy: remove one of the two")
	case len(p.Rego) > 0 && (p.Bundle != nil || p.OPA != nil):
		c.refuse("pdp.rego", "pdp.rego adds to access.yaml: with a bundle or an OPA put it there")
	case p.Bundle == nil && p.OPA == nil && c.s.Policy == "":
		c.refuse("policy", "%s has no policy: add it", shownPath(""))
	}
	if c.s.Policy != "" {
		h.Access = c.file(c.s.Policy)
	}
	for _, name := range p.Rego {
		h.PDP.Rego = append(h.PDP.Rego, c.file(name))
	}
	c.policyBundle(p.Bundle)
	c.policyOPA(p.OPA)
	switch {
	case !c.whole("policy") || !c.whole("pdp"):
	case p.Bundle == nil:
		c.policyFiles(ctx)
	case p.Bundle.Path != "":
		c.bundleFile(ctx)
	}
}

// policyFiles compiles what is in files. A bundle may be missing at the start.
func (c configCheck) policyFiles(ctx context.Context) {
	h := &c.s.house
	if h.Access != "" {
		if _, err := os.Stat(h.Access); err != nil {
			c.refuse("policy", "policy: %v", err)
			return
		}
	}
	for i, file := range h.PDP.Rego {
		if _, err := os.Stat(file); err != nil {
			at := fmt.Sprintf("pdp.rego[%d]", i)
			c.refuse(at, "%s: %v", at, err)
			return
		}
	}
	cfg, err := h.readPolicy(ctx)
	var pdp *policies.PDP
	if err == nil {
		pdp, err = policies.New(ctx, cfg)
	}
	if err != nil {
		c.further = append(c.further, strings.Split(err.Error(), "\n")...)
		return
	}
	for _, s := range c.s.Servers {
		if !pdp.Names(s.Name) {
			c.note("no role in %s names server %s: nobody may use it", h.Access, s.Name)
		}
	}
}

// bundleFile looks at a bundle that is here. A process starts without a good one.
func (c configCheck) bundleFile(ctx context.Context) {
	cfg, err := c.s.house.readPolicy(ctx)
	if err == nil {
		_, err = policies.New(ctx, cfg)
	}
	if err != nil {
		c.note("there is no good policy, everything is denied: %v", err)
	}
}

func (c configCheck) policyBundle(b *BundleConfig) {
	if b == nil {
		return
	}
	const at = "pdp.bundle"
	source := &bundleSource{}
	source.key.Algorithm, source.key.Scope = b.Algorithm, b.Scope
	if (b.Path == "") == (b.URL == "") {
		c.refuse(at, "%s needs either path or url, one of the two", at)
	}
	for _, key := range []string{"interval", "token_file", "ca"} {
		if b.Path != "" && c.nodes[at+"."+key] != nil {
			c.refuse(at+"."+key, "%s.%s goes with url only: remove it", at, key)
		}
	}
	pem, err := os.ReadFile(c.file(b.KeyFile))
	if source.key.PEM = string(pem); err == nil {
		err = source.key.Check()
	}
	if err != nil {
		c.refuse(at+".key_file", "%s.key_file: %s: %v", at, c.file(b.KeyFile), err)
	}
	source.path = c.file(b.Path)
	if b.URL != "" {
		if cfg, ok := c.opaPlace(at, b.URL, b.TokenFile, b.CA); ok {
			source.path, source.server = b.URL, opaclient.NewBundles(cfg, time.Duration(b.Interval), time.Now)
		}
	}
	c.s.house.PDP.Bundle = source
}

func (c configCheck) policyOPA(o *OPAConfig) {
	if o == nil {
		return
	}
	if cfg, ok := c.opaPlace("pdp.opa", o.URL, o.TokenFile, o.CA); ok {
		p := &c.s.house.PDP
		p.OPA, p.OPAURL, p.Timeout = opaclient.New(cfg), o.URL, time.Duration(o.Timeout)
	}
}

// opaPlace checks where an OPA or a bundle server is, and how it is spoken to.
func (c configCheck) opaPlace(at, raw, tokenFile, ca string) (cfg opaclient.Config, ok bool) {
	u, err := opaclient.CheckURL(raw)
	if err != nil {
		c.refuse(at+".url", "%s.url is %s: %v", at, shown(raw), err)
	}
	cfg = opaclient.Config{URL: u, TokenFile: c.file(tokenFile)}
	if tokenFile != "" {
		_, _ = c.secretFile(at+".token_file", tokenFile)
	}
	if ca != "" {
		var pool *x509.CertPool
		if pool, err = readCAs(c.file(ca)); err != nil {
			c.refuse(at+".ca", "%s.ca: %v", at, err)
		}
		cfg.CAs = pool
	}
	return cfg, c.whole(at)
}

// whole reports whether nothing was wrong so far at path, around it, or below.
func (c configCheck) whole(path string) bool {
	return c.good(path) && !slices.ContainsFunc(c.mistakes, func(m mistake) bool {
		return strings.HasPrefix(m.path, path+".") || strings.HasPrefix(m.path, path+"[")
	})
}
