package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

func (c configCheck) servers(origin *url.URL) {
	names, audiences := map[string]bool{}, map[oauth.Resource]string{}
	if v := c.s.house.Vault; v != nil && !v.Audience.IsZero() {
		audiences[v.Audience] = "Vault"
	}
	for i, s := range c.s.Servers {
		at := fmt.Sprintf("servers[%d]", i)
		if names[s.Name] {
			c.refuse(at+".name", "server %s is there twice: give each a name of its own", s.Name)
		}
		names[s.Name] = true
		c.legacy(at, s)
		switch {
		case c.isCommand(at, s):
			c.serverCommand(at, s)
		case c.serverURL(at, s, origin):
			c.serverAt(at, s, c.audience(at, s, origin, audiences))
		}
	}
	c.legacyPaths()
	if len(c.s.Servers) == 0 {
		c.note("no server is configured: there is nothing to call")
	}
}

// audience is the aud of call tokens for a server with a URL. Others are for one server
// only, and Vault's for those that are called with its credentials.
func (c configCheck) audience(at string, s ServerConfig, origin *url.URL, taken map[oauth.Resource]string) oauth.Resource {
	if a, ok := c.forVault(s); ok {
		return a
	}
	field := at + ".audience"
	if s.Audience == "" {
		s.Audience, field = s.URL, at+".url"
	}
	audience, err := oauth.ParseResource(s.Audience)
	switch {
	case err != nil:
		c.refuse(field, "%s is %s: %v", field, shown(s.Audience), err)
	case within(s.Audience, origin):
		c.refuse(field, "%s is %s, which is Wicketgate's own: name the server as it names itself", field, shown(s.Audience))
	case taken[audience] == "Vault":
		c.refuse(field, "%s is that of Vault: whoever gets a call token of this server could log in there", field)
	case taken[audience] != "":
		c.refuse(field, "%s is that of server %s too: a call token for one would be good at the other", field, taken[audience])
	}
	taken[audience] = s.Name
	return audience
}

func (c configCheck) serverAt(at string, s ServerConfig, audience oauth.Resource) {
	if public, err := oauth.ParseResource(c.s.Issuer + "/mcp/" + s.Name); err == nil {
		c.s.house.Upstreams = append(c.s.house.Upstreams, c.ofEvery(at, s, gateway.Upstream{Name: s.Name, Resource: public, URL: s.URL, Audience: audience}))
		c.serverID(at, s)
	}
}

// ofEvery completes a server with what does not depend on where it is.
func (c configCheck) ofEvery(at string, s ServerConfig, u gateway.Upstream) gateway.Upstream {
	u.SenderConstrained, u.OpenTools, u.Redactor = s.SenderConstrained, s.OpenTools, c.redactor(at, s.Redact)
	if shown, err := u.Redactor.Without(s.ApproversSee...); err != nil {
		c.refuse(at+".approvers_see", "%s.approvers_see: %v", at, err)
	} else if len(s.ApproversSee) > 0 {
		u.Shown = shown
	}
	u.Timeout, u.Budget = time.Duration(s.Timeout), c.budget(at, s.Budget)
	return u
}

// leastBytes is the largest answer: less a minute would refuse it for ever.
const leastBytes = 4 << 20

func (c configCheck) budget(at string, b BudgetConfig) gateway.Budget {
	if b.Bytes > 0 && b.Bytes < leastBytes {
		c.refuse(at+".budget.bytes", "%s.budget.bytes is %d, less than one answer may have: write at least %d, or 0 for no bound", at, b.Bytes, leastBytes)
	}
	return gateway.Budget{Calls: b.Calls, Streams: b.Streams, Bytes: int64(b.Bytes)}
}

// serverURL checks where a server is.
func (c configCheck) serverURL(at string, s ServerConfig, origin *url.URL) bool {
	if !c.good(at + ".url") {
		return false
	}
	at += ".url"
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "":
		c.refuse(at, "%s is not an http or https URL without user information: write for example https://mail.internal/mcp", at)
	case within(s.URL, origin):
		c.refuse(at, "%s is %s, which is Wicketgate itself", at, shown(s.URL))
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && !s.InsecurePlaintext:
		c.refuse(at, "%s is http on another machine: whoever is on the way reads calls and tokens; write https, or insecure_plaintext: true", at)
	default:
		if u.Scheme == "http" && !isLoopback(u.Hostname()) {
			c.note("server %s is reached in the clear (insecure_plaintext): whoever is on the way reads calls and %s", s.Name, map[bool]string{true: "credentials", false: "call tokens"}[s.Credential != ""])
		}
		return true
	}
	return false
}

// within reports whether the URL is below the origin.
func within(raw string, origin *url.URL) bool {
	u, err := url.Parse(raw)
	return err == nil && origin != nil && u.Scheme == origin.Scheme && strings.EqualFold(u.Host, origin.Host)
}

func (c configCheck) clients() {
	ids, hashes := map[string]bool{}, map[string]string{}
	for i, cl := range c.s.Clients {
		at := fmt.Sprintf("clients[%d]", i)
		id, err := identity.ParseClientID(cl.ID)
		if err == nil {
			_, err = id.Subject()
		}
		switch {
		case !c.good(at + ".id"):
		case err != nil:
			c.refuse(at+".id", "%s.id is %s: %v", at, shown(cl.ID), err)
		case ids[cl.ID]:
			c.refuse(at+".id", "client %s is there twice: keep one", cl.ID)
		case id == gatewayID || id == consoleID || id == cliID || cl.ID == devAgent:
			c.refuse(at+".id", "%s.id is %s, which is Wicketgate's own: choose another", at, cl.ID)
		}
		ids[cl.ID] = true
		client := authz.Client{ID: id, Name: cl.Name, GrantTypes: cl.GrantTypes, Scope: cl.Scopes, DPoPBound: cl.DPoPBound, CertificateBound: cl.CertificateBound}
		c.client(at, cl, &client)
		if sum := string(client.SecretHash); sum != "" {
			if other := hashes[sum]; other != "" {
				c.refuse(at, "%s has the secret of client %s: give each its own", at, other)
			}
			hashes[sum] = cl.ID
		}
		c.s.house.Static = append(c.s.house.Static, client)
	}
	if len(c.s.Clients) == 0 && c.s.Login == nil && c.s.Exchange == nil {
		c.note("no client is configured, and no login: nobody gets a token")
	}
}

// secret returns the hash of the client's secret.
func (c configCheck) secret(at string, cl ClientConfig) []byte {
	file := at + ".secret_file"
	switch {
	case !c.good(at+".secret_sha256") || !c.good(file):
		return nil
	case cl.SecretSHA256 == "" && cl.SecretFile == "" && strings.HasPrefix(cl.ID, "spiffe://"):
		c.refuse(at, "%s needs auth_method: spiffe to be a workload that has an SVID, or else secret_sha256 or secret_file", at)
		return nil
	case (cl.SecretSHA256 == "") == (cl.SecretFile == ""):
		c.refuse(at, "%s needs either secret_sha256 or secret_file, one of the two", at)
		return nil
	case cl.SecretSHA256 != "":
		sum, err := hex.DecodeString(cl.SecretSHA256)
		if none := sha256.Sum256(nil); err != nil || string(sum) == string(none[:]) {
			c.refuse(at+".secret_sha256", "%s.secret_sha256 is the hash of nothing: hash the secret", at)
		}
		return sum
	}
	secret, ok := c.secretFile(file, cl.SecretFile)
	if !ok {
		return nil
	}
	if len(secret) < minSecret {
		c.refuse(file, "%s: %s has fewer than %d characters: openssl rand -hex 32 makes a secret", file, c.file(cl.SecretFile), minSecret)
	}
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func (c configCheck) scopes(at string, cl ClientConfig) {
	for i, s := range cl.Scopes {
		if _, err := token.ParseToolScope(s); err != nil && !slices.Contains(oauth.DefaultScopes(), s) {
			c.refuse(fmt.Sprintf("%s.scopes[%d]", at, i), "%s.scopes[%d] is %s: write %s or tool:NAME", at, i, shown(s), strings.Join(oauth.DefaultScopes(), ", "))
		}
	}
}

func (c configCheck) origins() {
	for i, o := range c.s.AllowedOrigins {
		at := fmt.Sprintf("allowed_origins[%d]", i)
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != o || strings.Contains(o, "*") || o != strings.ToLower(o) ||
			u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
			c.refuse(at, "%s is %s: write https://HOST[:PORT] in lower case, without path and without *; http only for this machine", at, shown(o))
		}
	}
	c.s.house.Origins = c.s.AllowedOrigins
}

func (c configCheck) lifetimes() {
	l := c.s.Lifetimes
	if l.RefreshToken > l.Grant {
		c.refuse("lifetimes.refresh_token", "lifetimes.refresh_token is longer than lifetimes.grant: no refresh goes beyond the grant")
	}
	c.s.house.Lifetimes = lifetimes{Access: time.Duration(l.AccessToken), Refresh: time.Duration(l.RefreshToken), Grant: time.Duration(l.Grant), Login: time.Duration(l.Login)}
}
