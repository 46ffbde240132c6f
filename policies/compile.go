package policies

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// data is what access.yaml compiles to, and what access.rego looks up.
type data struct {
	Users     map[string]roleSet     `json:"users"`
	Clients   map[string]roleSet     `json:"clients"`
	Patterns  map[string]roleSet     `json:"patterns"` // what a client may match, not what it may be called
	Groups    map[string]roleSet     `json:"groups"`
	Claims    map[string]roleSet     `json:"claims,omitempty"` // by claim and value, see claimKey
	Roles     map[string]roleData    `json:"roles"`
	Facts     map[string]factData    `json:"facts,omitempty"` // by server
	Risks     map[string]*conditions `json:"risks,omitempty"`
	Denials   map[string]denialData  `json:"denials,omitempty"`   // by server
	Approvals map[string]askedGrant  `json:"approvals,omitempty"` // by the rule that may ask for one
	Together  map[string][]atom      `json:"together,omitempty"`  // by grant.Together

	// What Go decides on is here for the digest only.
	Hours   map[string]string    `json:"hours,omitempty"`
	Observe map[string]time.Time `json:"observe_until,omitempty"`
}

// roleSet has roles, and denials by their rule, which no role is called.
type roleSet map[string]bool

type roleData struct {
	When    map[string][]any        `json:"when"`           // never null: a role without is no role
	Asks    *conditions             `json:"asks,omitempty"` // of all that it grants
	Risk    string                  `json:"risk,omitzero"`
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

// grant is one line of access.yaml.
type grant struct {
	Rule    string      `json:"rule"`           // its path, unique in the document
	Asks    *conditions `json:"asks,omitempty"` // of this grant; there if it has a risk
	Risk    string      `json:"risk,omitzero"`
	Guarded bool        `json:"guarded,omitzero"` // there may be more to it than the rule: conditions, facts or denials

	// Together is where all its conditions are, of whatever they come from: of most rules
	// that is known before anybody asks. Empty for the others, and those with terms.
	Together string `json:"together,omitzero"`
}

// fact is what holds of a tool, resource, prompt or server whoever grants it.
type fact struct {
	Asks *conditions `json:"asks"`
	Risk string      `json:"risk,omitzero"`
}

type factData struct {
	All       *fact           `json:"all,omitempty"`
	Tools     map[string]fact `json:"tools,omitempty"`
	Resources map[string]fact `json:"resources,omitempty"`
	Prompts   map[string]fact `json:"prompts,omitempty"`
}

type denialData struct {
	Tools     map[string][]deniedData `json:"tools,omitempty"`
	Resources map[string][]deniedData `json:"resources,omitempty"`
	Prompts   map[string][]deniedData `json:"prompts,omitempty"`
}

type deniedData struct {
	Rule  string `json:"rule"`
	Who   bool   `json:"who,omitzero"`    // only those who have the rule among their roles
	Hours string `json:"hours,omitempty"` // only then
}

type askedGrant struct {
	Role   string `json:"role"`
	Server string `json:"server"`
	Grant  grant  `json:"grant"`
}

// compiler turns a document into data.
type compiler struct {
	doc  *document
	file string
	data data
	at   map[string]string // for each rule and condition where it is written
}

// compile returns the data, and for each rule where it is written.
func compile(file string, doc *document) (data, map[string]string) {
	c := compiler{doc, file, data{
		Users: map[string]roleSet{}, Clients: map[string]roleSet{}, Patterns: map[string]roleSet{}, Groups: map[string]roleSet{}, Claims: map[string]roleSet{},
		Roles: map[string]roleData{}, Risks: map[string]*conditions{}, Facts: map[string]factData{}, Denials: map[string]denialData{}, Approvals: map[string]askedGrant{}, Together: map[string][]atom{},
		Hours: map[string]string{}, Observe: map[string]time.Time{},
	}, map[string]string{}}
	for path, line := range doc.lines {
		c.place(path, line)
	}
	for name, r := range doc.risks {
		if !r.empty() {
			c.data.Risks[name] = r
		}
	}
	for name, h := range doc.hours {
		c.data.Hours[name] = h.String()
	}
	for name, f := range doc.facts {
		if !f.observe.IsZero() {
			c.data.Observe[name] = f.observe.UTC()
		}
		if compiled, ok := f.compile(); ok {
			c.data.Facts[name] = compiled
		}
		if rule := "servers." + name; !f.observe.IsZero() { // of who has no grant
			c.data.Approvals[rule] = askedGrant{"", name, grant{Rule: rule}}
		}
	}
	for _, d := range slices.SortedFunc(slices.Values(doc.denials), func(a, b denial) int { return cmp.Compare(a.name, b.name) }) {
		c.denial(d)
	}
	for _, r := range doc.roles { // after what guards their grants
		c.role(r)
	}
	return c.data, c.at
}

func (c compiler) place(path string, line int) { c.at[path] = fmt.Sprintf("%s:%d", c.file, line) }

func (c compiler) role(r role) {
	c.who(r.who, r.name)
	c.place("roles."+r.name, r.line)
	out := roleData{When: r.when, Risk: r.risk, Servers: map[string]serverGrants{}}
	if !r.asks.empty() || r.risk != "" {
		out.Asks = r.asks
	}
	for _, s := range r.servers {
		out.Servers[s.name] = c.grants(r, s)
	}
	c.data.Roles[r.name] = out
}

func (c compiler) who(w who, role string) {
	addRole(c.data.Users, w.users, role)
	addRole(c.data.Clients, w.clients, role)
	for _, pattern := range w.patterns {
		addRole(c.data.Patterns, []string{pattern.String()}, role)
	}
	addRole(c.data.Groups, w.groups, role)
	for claim, values := range w.claims {
		for _, v := range values {
			addRole(c.data.Claims, []string{claimKey(claim, v)}, role)
		}
	}
}

// grants compiles one server of a role.
func (c compiler) grants(r role, s server) serverGrants {
	_, facts := c.data.Facts[s.name]
	_, denied := c.data.Denials[s.name]
	guarded := facts || denied || !r.asks.empty() || r.risk != ""
	named := func(k int) (all *grant, by map[string]grant) {
		by = map[string]grant{}
		for _, i := range s.lists[k] {
			g := grant{Rule: "roles." + r.name + ".servers." + s.name + "." + kinds[k].list + "." + i.name}
			if i.asks != nil && (!i.asks.empty() || i.asks.risk != "") {
				g.Asks, g.Risk = i.asks, i.asks.risk
			}
			if g.Guarded = guarded || g.Asks != nil; g.Guarded {
				g.Together = c.together(r, s.name, k, i)
			}
			c.place(g.Rule, i.line)
			if c.mayAsk(r, s.name, k, i) {
				c.data.Approvals[g.Rule] = askedGrant{r.name, s.name, g}
			}
			if i.name == every {
				all = &g
			} else {
				by[i.name] = g
			}
		}
		return all, by
	}
	var g serverGrants
	g.EveryTool, g.Tools = named(tools)
	g.EveryResource, g.Resources = named(resources)
	g.EveryPrompt, g.Prompts = named(prompts)
	return g
}

// together stores all conditions of a grant, once for all grants that have the same. What a
// grant of several things is subject to depends on which of them is asked for.
func (c compiler) together(r role, server string, k int, i item) string {
	if k == resources || i.name == every && c.doc.facts[server] != nil {
		return ""
	}
	asks, risk := c.doc.effective(r, server, k, i)
	if risk != "" || asks != nil && asks.Terms != nil {
		return ""
	}
	var all []atom
	if asks != nil {
		all = slices.Concat(asks.Open, asks.Call, asks.Needs)
	}
	b, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return "" // no text of YAML
	}
	sum := sha256.Sum256(b)
	id := base64.RawURLEncoding.EncodeToString(sum[:12])
	c.data.Together[id] = append([]atom{}, all...)
	return id
}

// mayAsk reports whether a grant may ask for an approval, by whatever applies to it.
func (c compiler) mayAsk(r role, server string, k int, i item) bool {
	risks := []string{r.risk}
	asks := []*conditions{r.asks, i.asks}
	if f := c.doc.facts[server]; f != nil {
		asks = append(asks, f.all)
		for _, of := range f.lists[k] {
			if of.name == i.name || k == resources || i.name == every || of.name == every {
				asks = append(asks, of.asks)
			}
		}
	}
	for _, a := range asks {
		if a != nil {
			risks = append(risks, a.risk)
		}
	}
	for _, risk := range risks {
		asks = append(asks, c.doc.risks[risk])
	}
	return slices.ContainsFunc(asks, func(a *conditions) bool {
		return a != nil && slices.ContainsFunc(a.Needs, func(a atom) bool { return a.Is == "approval" })
	})
}

func (f *serverFacts) compile() (out factData, any bool) {
	one := func(c *conditions) (fact, bool) {
		if c == nil || c.empty() && c.risk == "" {
			return fact{}, false
		}
		any = true
		return fact{c, c.risk}, true
	}
	if all, ok := one(f.all); ok {
		out.All = &all
	}
	lists := [3]*map[string]fact{&out.Tools, &out.Resources, &out.Prompts}
	for k, items := range f.lists {
		for _, i := range items {
			if of, ok := one(i.asks); ok {
				if *lists[k] == nil {
					*lists[k] = map[string]fact{}
				}
				(*lists[k])[i.name] = of
			}
		}
	}
	return out, any
}

func (c compiler) denial(d denial) {
	rule := "deny." + d.name
	c.place(rule, d.line)
	if d.who != nil {
		c.who(*d.who, rule)
	}
	for _, s := range d.servers {
		of := c.data.Denials[s.name]
		lists := [3]*map[string][]deniedData{&of.Tools, &of.Resources, &of.Prompts}
		for k, items := range s.lists {
			for _, i := range items {
				if *lists[k] == nil {
					*lists[k] = map[string][]deniedData{}
				}
				(*lists[k])[i.name] = append((*lists[k])[i.name], deniedData{rule, d.who != nil, d.hours})
			}
		}
		c.data.Denials[s.name] = of
	}
}

// servers are the servers that some role grants anything on.
func (doc *document) servers() map[string]bool {
	named := map[string]bool{}
	for _, r := range doc.roles {
		for _, s := range r.servers {
			named[s.name] = named[s.name] || s.any()
		}
	}
	return named
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
