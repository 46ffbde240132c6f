package policies

// need is which members of the input the conditions on one tool, resource or prompt read,
// beyond those that every question of the policy reads. So what is asked of one tool costs
// the others nothing, and leaves their answers in the cache.
type need uint32

const (
	needArguments need = 1 << iota
	needHosts
	needPaths
	needHours
	needTime
	needAuthTime
	needACR
	needBound
	needClaims
	needRule
	needVisible
	needObserve

	needAll need = 1<<iota - 1 // of what is built only where it is needed
)

// What else an answer may depend on.
const (
	needGroups need = 1 << (iota + 16)
	needClaimValues
	needActors
	needDigest
)

// conditional are the members of the input that are built only where they are needed.
var conditional = map[string]need{
	"arguments": needArguments, "argument_doubts": needArguments, "argument_hosts": needHosts, "argument_paths": needPaths,
	"hours": needHours, "time_ns": needTime, "auth_time": needAuthTime, "acr": needACR, "bound": needBound, "claims": needClaims,
	"rule": needRule, "visible": needVisible, "observe": needObserve,
}

var unconditional = map[string]need{"groups": needGroups, "claim_values": needClaimValues, "actors": needActors, "definition_digest": needDigest}

// need is what every question reads.
func (r reads) need() (n need) {
	for name, is := range r {
		if is {
			n |= conditional[name] | unconditional[name]
		}
	}
	return n
}

// ofAtom is what a condition reads.
var ofAtom = map[string]need{
	"when": needClaims, "hours": needHours, "acr": needACR, "max_age": needTime | needAuthTime, "bound": needBound, "approval": needRule,
	"claim": needArguments | needClaims, "domains": needArguments | needHosts, "paths": needArguments | needPaths,
	"max": needArguments, "min": needArguments, "enum": needArguments, "pattern": needArguments, "max_length": needArguments,
}

func (c *conditions) need() (n need) {
	if c.empty() {
		return 0
	}
	for _, list := range [][]atom{c.Open, c.Call, c.Needs} {
		for _, a := range list {
			n |= ofAtom[a.Is]
		}
	}
	if len(c.Call)+len(c.Needs) > 0 || c.Terms != nil {
		n |= needVisible
	}
	if c.Terms != nil {
		for _, f := range c.Terms.Filters {
			if f.Claim != "" {
				n |= needClaims
			}
		}
	}
	return n
}

// targets has the needs of what a server has.
type targets map[string]*serverNeeds

type serverNeeds struct {
	observed bool // perhaps: it has an observe_until
	all      need
	every    [3]need
	names    [3]map[string]need
}

func (t targets) of(q *Request) need {
	s := t[q.Server]
	switch {
	case t != nil && q.Action == ActionApprove:
		return needAll
	case s == nil || q.Action == ActionSession:
		return 0
	}
	n := s.all
	switch q.Action {
	case ActionCallTool:
		n |= s.every[tools] | s.names[tools][q.Tool]
	case ActionReadResource:
		n |= s.every[resources]
	case ActionGetPrompt:
		n |= s.every[prompts] | s.names[prompts][q.Prompt]
	}
	return n
}

func (t targets) server(name string) *serverNeeds {
	if t[name] == nil {
		t[name] = &serverNeeds{names: [3]map[string]need{{}, {}, {}}}
	}
	return t[name]
}

// add notes the need of an item. Several items may mean one resource, so they share.
func (s *serverNeeds) add(k int, name string, n need) {
	if name == every || k == resources {
		s.every[k] |= n
	} else {
		s.names[k][name] |= n
	}
}

func newTargets(doc *document) targets {
	t := targets{}
	for name, f := range doc.facts {
		s := t.server(name)
		s.observed = !f.observe.IsZero()
		if s.observed {
			s.all |= needObserve
		}
		s.all |= doc.need(f.all)
		for k, items := range f.lists {
			for _, i := range items {
				s.add(k, i.name, doc.need(i.asks))
			}
		}
	}
	for _, r := range doc.roles {
		ofRole := r.asks.need() | doc.risks[r.risk].need()
		for _, on := range r.servers {
			for k, items := range on.lists {
				for _, i := range items {
					t.server(on.name).add(k, i.name, ofRole|doc.need(i.asks))
				}
			}
		}
	}
	for _, d := range doc.denials {
		for _, on := range d.servers {
			for k, items := range on.lists {
				for _, i := range items {
					if d.hours != "" {
						t.server(on.name).add(k, i.name, needHours)
					}
				}
			}
		}
	}
	return t
}

// need is that of conditions and of the risk that they name.
func (doc *document) need(c *conditions) need {
	if c == nil {
		return 0
	}
	return c.need() | doc.risks[c.risk].need()
}

// reads are the members that every question reads, whatever it is about.
func (doc *document) reads() reads {
	r := reads{"kind": true, "name": true, "action": true, "server": true, "tool": true}
	need := func(name string, size int) { r[name] = r[name] || size > 0 }
	need("resource_prefixes", newPrefixes(doc).longest)
	whose := func(w who) {
		need("patterns", len(w.patterns))
		need("groups", len(w.groups))
		need("claim_values", len(w.claims))
	}
	named := func(lists [3][]item) {
		need("resource", len(lists[resources]))
		need("prompt", len(lists[prompts]))
	}
	marked := func(lists [3][]item) {
		named(lists)
		need("resource_marks", len(lists[resources]))
	}
	for _, r := range doc.roles {
		whose(r.who)
		need("claims", len(r.when))
		for _, s := range r.servers {
			named(s.lists)
		}
	}
	for _, f := range doc.facts {
		marked(f.lists)
	}
	for _, d := range doc.denials {
		if d.who != nil {
			whose(*d.who)
		}
		for _, s := range d.servers {
			marked(s.lists)
		}
	}
	return r
}
