package policies

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
)

// data is what access.yaml compiles to, and what access.rego looks up.
type data struct {
	Users    map[string]roleSet  `json:"users"`
	Clients  map[string]roleSet  `json:"clients"`
	Patterns map[string]roleSet  `json:"patterns"` // what a client may match, not what it may be called
	Groups   map[string]roleSet  `json:"groups"`
	Roles    map[string]roleData `json:"roles"`
}

type roleSet map[string]bool

type roleData struct {
	When    map[string][]any        `json:"when"` // never null: a role without is no role
	Servers map[string]serverGrants `json:"servers"`
}

type serverGrants struct {
	EveryTool     *grant           `json:"every_tool,omitempty"`
	Tools         map[string]grant `json:"tools,omitempty"`
	EveryResource *grant           `json:"every_resource,omitempty"`
	Resources     map[string]grant `json:"resources,omitempty"` // by the URI, or by the prefix with its "*": a URI that is spelled so begins with it too
	EveryPrompt   *grant           `json:"every_prompt,omitempty"`
	Prompts       map[string]grant `json:"prompts,omitempty"`
}

// grant is one line of access.yaml. Conditions will be further members.
type grant struct {
	Rule string `json:"rule"` // its path, unique in the document
}

// compile returns the data, and for each rule where it is written.
func compile(file string, doc *document) (data, map[string]string) {
	d := data{Users: map[string]roleSet{}, Clients: map[string]roleSet{}, Patterns: map[string]roleSet{}, Groups: map[string]roleSet{}, Roles: map[string]roleData{}}
	at := map[string]string{}
	for _, r := range doc.roles {
		addRole(d.Users, r.users, r.name)
		addRole(d.Clients, r.clients, r.name)
		for _, pattern := range r.patterns {
			addRole(d.Patterns, []string{pattern.String()}, r.name)
		}
		addRole(d.Groups, r.groups, r.name)
		servers := map[string]serverGrants{}
		for _, s := range r.servers {
			servers[s.name] = s.grants("roles."+r.name+".servers."+s.name, file, at)
		}
		d.Roles[r.name] = roleData{r.when, servers}
	}
	return d, at
}

// grants compiles one server of a role; path is its own in the document.
func (s server) grants(path, file string, at map[string]string) serverGrants {
	named := func(list string, items []item) (all *grant, by map[string]grant) {
		by = map[string]grant{}
		for _, i := range items {
			rule := path + "." + list + "." + i.name
			at[rule] = fmt.Sprintf("%s:%d", file, i.line)
			if i.name == every {
				all = &grant{rule}
			} else {
				by[i.name] = grant{rule}
			}
		}
		return all, by
	}
	var g serverGrants
	g.EveryTool, g.Tools = named("tools", s.tools)
	g.EveryResource, g.Resources = named("resources", s.resources)
	g.EveryPrompt, g.Prompts = named("prompts", s.prompts)
	return g
}

// servers are the servers that some role grants anything on.
func (d *document) servers() map[string]bool {
	named := map[string]bool{}
	for _, r := range d.roles {
		for _, s := range r.servers {
			named[s.name] = named[s.name] || len(s.tools)+len(s.resources)+len(s.prompts) > 0
		}
	}
	return named
}

// unread are the members of the input that access.rego asks for and no role needs:
// without them nothing is built, hashed or answered apart for their sake.
func (d *document) unread() []string {
	needed := map[string]bool{"resource_prefixes": newPrefixes(d).longest > 0}
	need := func(name string, size int) { needed[name] = needed[name] || size > 0 }
	for _, r := range d.roles {
		need("patterns", len(r.patterns))
		need("groups", len(r.groups))
		need("claims", len(r.when))
		for _, s := range r.servers {
			need("resource", len(s.resources))
			need("prompt", len(s.prompts))
		}
	}
	optional := []string{"patterns", "groups", "claims", "resource", "resource_prefixes", "prompt"}
	return slices.DeleteFunc(optional, func(name string) bool { return needed[name] })
}

func addRole(of map[string]roleSet, names []string, role string) {
	for _, n := range names {
		if of[n] == nil {
			of[n] = roleSet{}
		}
		of[n][role] = true
	}
}

// canonical is the one JSON form of d.
func (d data) canonical() ([]byte, error) { return json.Marshal(d, json.Deterministic(true)) }

// digest hashes modules and data, each with its length before it, so that no two
// policies run together to the same bytes.
func digest(modules map[string]string, data []byte) string {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		part([]byte(name))
		part([]byte(modules[name]))
	}
	part(data)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
