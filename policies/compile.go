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
	EveryTool *grant           `json:"every_tool,omitempty"`
	Tools     map[string]grant `json:"tools"`
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
			g := serverGrants{Tools: map[string]grant{}}
			for _, t := range s.tools {
				rule := "roles." + r.name + ".servers." + s.name + ".tools." + t.name
				at[rule] = fmt.Sprintf("%s:%d", file, t.line)
				if t.name == everyTool {
					g.EveryTool = &grant{rule}
				} else {
					g.Tools[t.name] = grant{rule}
				}
			}
			servers[s.name] = g
		}
		d.Roles[r.name] = roleData{r.when, servers}
	}
	return d, at
}

// servers are the servers that some role names a tool of.
func (d *document) servers() map[string]bool {
	named := map[string]bool{}
	for _, r := range d.roles {
		for _, s := range r.servers {
			named[s.name] = named[s.name] || len(s.tools) > 0
		}
	}
	return named
}

// unread are the members of the input that access.rego asks for and no role needs:
// without them nothing is built, hashed or answered apart for their sake.
func (d *document) unread() []string {
	out := []string{"patterns", "groups", "claims"}
	for _, r := range d.roles {
		out = slices.DeleteFunc(out, func(name string) bool {
			return name == "patterns" && len(r.patterns) > 0 || name == "groups" && len(r.groups) > 0 || name == "claims" && len(r.when) > 0
		})
	}
	return out
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
