package policies

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// document is a checked access.yaml. It grows by keys of a role (hours), and by
// tools as a mapping from name to conditions beside the list.
type document struct {
	roles []role
}

type role struct {
	name                   string
	users, clients, groups []string
	patterns               []identity.Pattern // of workloads, in the list of clients
	when                   map[string][]any   // a claim and the values, one of which it must have
	servers                []server
}

// parseAccess reads access.yaml; file is its name in errors. An empty document
// is nil. The error has a line for each mistake.
func parseAccess(file string, b []byte) (*document, error) {
	p := &parser{file: file}
	root, err := p.decode(b)
	if err != nil || root == nil {
		return nil, err
	}
	doc := p.document(root)
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return doc, nil
}

// decode returns the root of the only document, nil for an empty one.
func (p *parser) decode(b []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	var root, next yaml.Node
	switch err := d.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, p.syntax(err)
	}
	switch err := d.Decode(&next); {
	case err == nil:
		return nil, p.errorf(&next, "a second document: keep one per file")
	case !errors.Is(err, io.EOF):
		return nil, p.syntax(err)
	}
	if n := root.Content[0]; n.ShortTag() != "!!null" {
		return n, nil
	}
	return nil, nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntax places an error of the YAML library, which knows lines only.
func (p *parser) syntax(err error) error {
	line, text := 1, err.Error()
	if m := yamlError.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		text = m[2]
	}
	if text == "did not find expected alphabetic or numeric character" {
		text = `"*" must be in quotes`
	}
	return fmt.Errorf("%s:%d:1: not valid YAML: %s", p.file, line, text)
}

func (p *parser) document(n *yaml.Node) *document {
	f := p.fields(n, "access.yaml", "version", "roles")
	if f == nil {
		return nil
	}
	p.version(n, f["version"])
	doc := &document{}
	if f["roles"] == nil {
		return doc
	}
	for _, e := range p.entries(f["roles"], "roles", "role") {
		doc.roles = append(doc.roles, p.role(e))
	}
	return doc
}

func (p *parser) version(root, n *yaml.Node) {
	switch {
	case n == nil:
		p.errorf(root, "no version: begin with version: 1")
	case !p.plain(n):
	case n.ShortTag() != "!!int" || n.Value != "1":
		p.errorf(n, "unknown version: write version: 1, without quotes")
	}
}

var roleName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func (p *parser) role(e entry) role {
	r := role{name: e.key.Value}
	if !roleName.MatchString(r.name) {
		p.errorf(e.key, "role name %s: use 1 to 63 of a-z 0-9 _ -, beginning with a letter or digit", shown(e.key))
	}
	f := p.fields(e.value, "a role", "who", "when", "servers")
	if f == nil {
		return r
	}
	if f["who"] == nil {
		p.errorf(e.key, "role %s has no who: add who: {users: [NAME]}, {clients: [CLIENT_ID]} or {groups: [GROUP]}", shown(e.key))
	} else {
		p.who(f["who"], &r)
	}
	r.when = p.when(f["when"])
	if f["servers"] == nil {
		p.errorf(e.key, "role %s has no servers: add servers: {SERVER: {tools: [TOOL]}}", shown(e.key))
		return r
	}
	for _, s := range p.entries(f["servers"], "servers", "server") {
		r.servers = append(r.servers, p.server(s))
	}
	return r
}

func (p *parser) who(n *yaml.Node, r *role) {
	f := p.fields(n, "who", "users", "clients", "groups")
	if f == nil {
		return
	}
	if len(n.Content) == 0 {
		p.errorf(n, "who names nobody: add users: [NAME], clients: [CLIENT_ID] or groups: [GROUP]")
	}
	r.users = p.names(f["users"], "users", "user", checkUser)
	for _, name := range p.names(f["clients"], "clients", "client", checkClient) {
		if pattern, err := identity.ParsePattern(name); err == nil && pattern.Any() {
			r.patterns = append(r.patterns, pattern)
		} else {
			r.clients = append(r.clients, name)
		}
	}
	r.groups = p.names(f["groups"], "groups", "group", checkGroup)
}

func (p *parser) names(n *yaml.Node, list, what string, check func(string) error) []string {
	var out []string
	for _, item := range p.list(n, list, what) {
		if err := check(item.Value); err != nil {
			p.errorf(item, "%s %s: %v", what, shown(item), err)
		}
		out = append(out, item.Value)
	}
	return out
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
