package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// legacyServer is a server with credential: vault that was checked.
type legacyServer struct {
	ServerVaultConfig
	Inject *credential.Template
}

// legacy checks whether a server is called with credentials of Vault, and with which.
func (c configCheck) legacy(at string, s ServerConfig) {
	if !c.good(at + ".credential") {
		return
	}
	if s.Credential == "" {
		if s.Vault != nil {
			c.refuse(at+".vault", "%s.vault goes with credential: vault only: add that, or remove it", at)
		}
		return
	}
	if c.s.Vault == nil {
		c.refuse(at+".credential", "%s.credential is vault, and there is no section vault: add it, beside servers, with address and login", at)
	}
	for _, key := range []string{"audience", "spiffe_id"} {
		if c.nodes[at+"."+key] != nil {
			c.refuse(at+"."+key, "%s.%s does not go with credential: vault, which a server gets in place of a token and of our certificate: remove it", at, key)
		}
	}
	if c.s.house.Legacy == nil {
		c.s.house.Legacy = map[string]legacyServer{}
	}
	c.s.house.Legacy[s.Name] = legacyServer{}
	switch {
	case s.Vault != nil:
		c.legacyVault(at, s)
	case c.asked.enforces():
		c.refuse(at+".vault", "%[1]s.credential is vault, and there is no %[1]s.vault: add it, with engine, path and inject", at)
	}
}

// forVault is the aud of call tokens for a server: that of Vault, where it is logged in to
// with them.
func (c configCheck) forVault(s ServerConfig) (oauth.Resource, bool) {
	v := c.s.house.Vault
	if s.Credential == "" || v == nil || v.Audience.IsZero() {
		return oauth.Resource{}, false
	}
	return v.Audience, true
}

func (c configCheck) legacyVault(serverAt string, s ServerConfig) {
	at, v := serverAt+".vault", s.Vault
	if !c.whole(at) {
		return
	}
	c.vaultRole(at, *v)
	c.vaultEngine(at, *v)
	c.vaultPath(at, *v)
	c.inject(at+".inject", s)
	inject, err := credential.Compile(v.Inject.injection())
	if err != nil && c.whole(at+".inject") {
		c.refuse(at+".inject", "%s.inject: %v", at, err)
	}
	c.s.house.Legacy[s.Name] = legacyServer{*v, inject}
}

// vaultRole checks what the token of a call may do.
func (c configCheck) vaultRole(at string, v ServerVaultConfig) {
	if c.s.Vault == nil || !c.good("vault.login.method") {
		return
	}
	jwt := c.s.Vault.Login.Method == loginJWT
	for key, forJWT := range map[string]bool{"role": true, "policies": false, "token_role": false} {
		if jwt != forJWT && c.nodes[at+"."+key] != nil {
			c.refuse(at+"."+key, "%s.%s does not go with vault.login.method %s: remove it", at, key, c.s.Vault.Login.Method)
		}
	}
	switch {
	case jwt && v.Role == "":
		c.refuse(at+".role", "%s has no role, which vault.login.method jwt needs: add it", at)
	case !jwt && len(v.Policies) == 0 && v.TokenRole == "":
		c.refuse(at+".policies", "%s has neither policies nor token_role: the token of a call could do all that our own login may; add one", at)
	}
}

// vaultEngine refuses what says nothing to the engine.
func (c configCheck) vaultEngine(at string, v ServerVaultConfig) {
	const kv, static = "kv", "database-static"
	engines := map[string][]string{"version": {kv}, "request": {"pki", "lease"}, "warn_age": {kv, static}, "max_age": {kv, static}}
	for key, with := range engines {
		if c.nodes[at+"."+key] != nil && !strings.Contains(" "+strings.Join(with, " ")+" ", " "+v.Engine+" ") {
			c.refuse(at+"."+key, "%s.%s goes with engine %s only: remove it", at, key, strings.Join(with, " and "))
		}
	}
	switch {
	case v.WarnAge > v.MaxAge && c.good(at+".max_age"):
		c.refuse(at+".warn_age", "%s.warn_age is longer than max_age: nobody would be warned", at)
	case v.Per == "call" && c.nodes[at+".ttl"] != nil:
		c.refuse(at+".ttl", "%s.ttl goes with per: session and per: subject only: remove it", at)
	}
	for i, r := range v.Request {
		for _, other := range v.Request[:i] {
			if other.Name == r.Name {
				c.refuse(at+".request", "%s.request has %s twice: keep one", at, r.Name)
			}
		}
	}
}

// subjectInPath is where a path has the subject of the call.
const subjectInPath = "{{.subject}}"

// vaultPath checks the path: nothing of it is guessed or mended.
func (c configCheck) vaultPath(at string, v ServerVaultConfig) {
	plain := strings.ReplaceAll(v.Path, subjectInPath, "subject")
	bad := strings.ContainsFunc(plain, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`{}?#%\*+`, r)
	})
	for segment := range strings.SplitSeq(plain, "/") {
		bad = bad || segment == "" || segment == "." || segment == ".."
	}
	if bad {
		c.refuse(at+".path", "%s.path is %s: write it as database/creds/reports, without v1, a slash at either end, and anything in braces but {{.subject}}", at, shown(v.Path))
		return
	}
	if err := (vaultbridge.Server{Engine: vaultbridge.Engine(v.Engine), Path: v.Path}).CheckPath(); err != nil && c.good(at+".engine") {
		c.refuse(at+".path", "%s.%v", at, err)
	}
}

// legacyPaths refuses paths of two servers of which a subject could be named so that the one
// is the other: reports-{{.subject}} for eu-bob, and reports-eu-{{.subject}} for bob.
func (c configCheck) legacyPaths() {
	for _, one := range c.s.Servers {
		for i, other := range c.s.Servers {
			at := fmt.Sprintf("servers[%d].vault.path", i)
			if one.Vault == nil || other.Vault == nil || !c.good(at) {
				continue
			}
			if name, ok := runsInto(one.Vault.Path, other.Vault.Path); ok {
				c.refuse(at, "%s is %s, which a subject named %q gets of server %s (%s): let neither begin as the other does", at, shown(other.Vault.Path), name, one.Name, one.Vault.Path)
			}
		}
	}
}

// runsInto reports whether a path for each subject is another path, for a subject of that name.
func runsInto(path, other string) (name string, ok bool) {
	before, after, each := strings.Cut(path, subjectInPath)
	if !each || path == other {
		return "", false
	}
	name, begins := strings.CutPrefix(strings.ReplaceAll(other, subjectInPath, "bob"), before)
	name, ends := strings.CutSuffix(name, after)
	return name, begins && ends && name != "" && !strings.Contains(name, "/")
}

// inject checks where the credential goes.
func (c configCheck) inject(at string, s ServerConfig) {
	in := s.Vault.Inject
	command := len(s.Command) > 0
	for key, forCommand := range map[string]bool{"header": false, "basic": false, "query": false, "allow_query": false, "client_certificate": false, "env": true, "files": true} {
		switch {
		case c.nodes[at+"."+key] == nil || command == forCommand:
		case command:
			c.refuse(at+"."+key, "%s.%s is for a server with a url: a command takes env and files", at, key)
		default:
			c.refuse(at+"."+key, "%s.%s is for a command: a server with a url takes header, basic, query and client_certificate", at, key)
		}
	}
	switch {
	case len(in.Query) > 0 && !in.AllowQuery:
		c.refuse(at+".query", "%s.query puts a credential into a URL, which ends up in logs of servers and proxies: use header, or write allow_query: true", at)
	case len(in.Query) == 0 && in.AllowQuery:
		c.refuse(at+".allow_query", "%s.allow_query is true, and there is no query: remove it", at)
	}
	switch {
	case in.ClientCertificate && !command && !strings.HasPrefix(s.URL, "https://"):
		c.refuse(at+".client_certificate", "%s.client_certificate: url is no https URL: mutual TLS is spoken there", at)
	case len(in.Header)+len(in.Query)+len(in.Env)+len(in.Files) == 0 && in.Basic == nil && !in.ClientCertificate:
		c.refuse(at, "%s says nowhere to put the credential: add header, basic or client_certificate, or for a command env or files", at)
	}
	c.sayInjection(s, command)
}

// sayInjection tells an operator what weakens a server.
func (c configCheck) sayInjection(s ServerConfig, command bool) {
	v := s.Vault
	if len(v.Inject.Query) > 0 {
		c.note("server %s gets its credential in the URL (allow_query): logs of servers and proxies keep it", s.Name)
	}
	switch {
	case v.Per != "call":
		c.note("server %s: a credential is shared by the calls of one %s, for up to %s (per: %s)", s.Name, v.Per, time.Duration(v.TTL), v.Per)
	case command:
		c.note("server %s: each call starts a process of its own (per: call)", s.Name)
	}
}

func (i InjectConfig) injection() credential.Injection {
	out := credential.Injection{ClientCertificate: i.ClientCertificate}
	for _, f := range i.Header {
		out.Header = append(out.Header, credential.Field(f))
	}
	for _, f := range i.Query {
		out.Query = append(out.Query, credential.Field(f))
	}
	for _, f := range i.Env {
		out.Env = append(out.Env, credential.Field(f))
	}
	for _, f := range i.Files {
		out.Files = append(out.Files, credential.FileField(f))
	}
	if i.Basic != nil {
		out.Basic = (*credential.Basic)(i.Basic)
	}
	return out
}
