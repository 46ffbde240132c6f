package policies

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// who are the callers that a role is given to, or a denial meant for.
type who struct {
	users, clients, groups []string
	patterns               []identity.Pattern // of workloads, in the list of clients
	claims                 map[string][]any   // a claim and its values, one of which is enough
}

type role struct {
	name string
	line int
	who
	when    map[string][]any // a claim and the values, one of which it must have
	asks    *conditions      // of all that it grants, with those of its templates
	risk    string
	servers []server // with what the templates grant
}

// template is what several roles begin with.
type template struct {
	name    string
	asks    *conditions
	servers []server
}

var roleName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func (p *parser) checkName(n *yaml.Node, what string) {
	if !roleName.MatchString(n.Value) {
		p.errorf(n, "%s name %s: use 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit", what, shown(n))
	}
}

func (p *parser) templatesSection(n *yaml.Node) {
	if n == nil {
		return
	}
	for _, e := range p.entries(n, "templates", "template") {
		p.checkName(e.key, "template")
		t := &template{name: e.key.Value}
		p.templates[t.name] = t
		f := p.fields(e.value, "a template", append([]string{"servers"}, conditionKeys...)...)
		if f == nil {
			continue
		}
		t.asks = p.conditions(f, "templates."+t.name)
		if f["servers"] == nil {
			p.errorf(e.key, "template %s has no servers: add servers: {SERVER: {tools: [TOOL]}}", shown(e.key))
			continue
		}
		for _, s := range p.entries(f["servers"], "servers", "server") {
			t.servers = append(t.servers, p.server(s, place{path: "templates." + t.name + ".servers." + s.key.Value}))
		}
	}
}

// roleKeys are those of a role; the conditions without when are on all that it grants.
var roleKeys = append([]string{"template", "who", "servers"}, conditionKeys...)

func (p *parser) role(e entry) role {
	r := role{name: e.key.Value, line: e.key.Line}
	p.checkName(e.key, "role")
	f := p.fields(e.value, "a role", roleKeys...)
	if f == nil {
		return r
	}
	if f["who"] == nil {
		p.errorf(e.key, "role %s has no who: add who: {users: [NAME]}, {clients: [CLIENT_ID]} or {groups: [GROUP]}", shown(e.key))
	} else {
		r.who = p.who(f["who"])
	}
	r.when = p.when(f["when"])
	for claim := range r.when {
		p.lines["roles."+r.name+".when."+claim] = f["when"].Line
	}
	delete(f, "when")
	r.asks = p.conditions(f, "roles."+r.name)
	p.grants(e.key, f, &r)
	return r
}

// grants reads what the role grants: its own servers, and what its templates have beside.
func (p *parser) grants(key *yaml.Node, f map[string]*yaml.Node, r *role) {
	r.risk = r.asks.risk
	if f["servers"] != nil {
		for _, s := range p.entries(f["servers"], "servers", "server") {
			r.servers = append(r.servers, p.server(s, place{path: "roles." + r.name + ".servers." + s.key.Value, mayOmit: f["template"] != nil}))
		}
	} else if f["template"] == nil {
		p.later(func() {
			if !p.approvers[r.name] {
				p.errorf(key, "role %s has no servers: add servers: {SERVER: {tools: [TOOL]}}", shown(key))
			}
		})
	}
	p.inherit(f["template"], r)
}

func (p *parser) who(n *yaml.Node) (w who) {
	f := p.fields(n, "who", "users", "clients", "groups", "claims")
	if f == nil {
		return w
	}
	if len(n.Content) == 0 {
		p.errorf(n, "who names nobody: add users: [NAME], clients: [CLIENT_ID] or groups: [GROUP]")
	}
	w.users = p.names(f["users"], "users", "user", checkUser)
	for _, name := range p.names(f["clients"], "clients", "client", checkClient) {
		if pattern, err := identity.ParsePattern(name); err == nil && pattern.Any() {
			w.patterns = append(w.patterns, pattern)
		} else {
			w.clients = append(w.clients, name)
		}
	}
	w.groups = p.names(f["groups"], "groups", "group", checkGroup)
	if f["claims"] != nil {
		w.claims = p.claimValues(f["claims"], "claims")
	}
	return w
}

// errWildcard is for who writes "*" and means everybody.
var errWildcard = errors.New("there is no wildcard here, name each one")

func checkUser(s string) error {
	switch {
	case s == "*":
		return errWildcard
	case likeSPIFFEID(s):
		return errors.New("a workload is no user: name it in clients")
	}
	_, err := identity.ParseSubject(s)
	return err
}

// checkClient takes a client_id, and of what looks like a SPIFFE ID only one or a
// pattern: no workload could have another name.
func checkClient(s string) (err error) {
	switch star := strings.Contains(s, "*"); {
	case likeSPIFFEID(s) && star:
		_, err = identity.ParsePattern(s)
	case likeSPIFFEID(s):
		_, err = identity.ParseSPIFFEID(s)
	case star:
		err = fmt.Errorf("%w; %w", errWildcard, identity.ErrBadPattern)
	default:
		_, err = identity.ParseClientID(s)
	}
	return err
}

func checkGroup(s string) error {
	if s == "*" {
		return errWildcard
	}
	return checkName(s)
}

// likeSPIFFEID reports whether somebody meant s to be a SPIFFE ID, in any case.
func likeSPIFFEID(s string) bool {
	const scheme = "spiffe:"
	return len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme)
}
