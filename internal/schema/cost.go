package schema

import (
	"errors"
	"maps"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var errEntangled = errors.New("the schema applies too many subschemas to one value")

// cost counts two things: visits of subschemas to values, and steps of regular
// expressions for each byte of a string.
type cost [2]uint64

const (
	visits = iota
	steps
)

// saturated is more than any check may cost. Products of two stay below 2⁶⁴.
const saturated = 1 << 31

func plus(a, b uint64) uint64  { return min(a+b, saturated) }
func times(a, b uint64) uint64 { return min(a*b, saturated) }

// measure computes what one value can cost, by its depth.
func measure(s *jsonschema.Schema) ([]cost, error) {
	g := &graph{sums: map[*jsonschema.Schema]sum{}, heads: map[*jsonschema.Schema]*head{}}
	root := g.head(s)
	for len(g.queue) > 0 && g.entries <= maxEntries {
		h := g.queue[0]
		g.queue = g.queue[1:]
		g.expand(h)
	}
	if g.entries > maxEntries {
		return nil, errEntangled
	}
	var costs []cost
	for depth := range maxDepth + 1 {
		for _, h := range g.heads {
			h.next = cost{h.worst(visits, depth), h.worst(steps, depth)}
		}
		for _, h := range g.heads {
			h.cost = h.next
		}
		costs = append(costs, root.cost)
		if depth <= 4 && root.cost[visits] > maxWork/64 {
			return nil, errEntangled
		}
	}
	return costs, nil
}

// graph is the compiled schema seen from the values: a head applies to a value, and
// to the values inside apply the heads that it and all that it joins name for them.
type graph struct {
	sums    map[*jsonschema.Schema]sum
	heads   map[*jsonschema.Schema]*head
	queue   []*head
	entries int // more than maxEntries: what is there is incomplete
}

// sum is how often a schema and each of those that it joins apply to one value.
type sum map[*jsonschema.Schema]uint64

type head struct {
	schema             *jsonschema.Schema
	own                cost   // for the value itself
	every              uint64 // visits for every value inside: its name is looked up
	anyMember, anyItem []edge
	member             map[string][]edge
	item               map[int][]edge

	cost, next cost // for a value so deep inside, at most
}

type edge struct {
	to    *head
	times uint64
}

// worst is what a value can cost that is so deep inside of the one that h sees.
func (h *head) worst(what, depth int) uint64 {
	if depth == 0 {
		return h.own[what]
	}
	total := func(edges []edge) (n uint64) {
		for _, e := range edges {
			n = plus(n, times(e.to.cost[what], e.times))
		}
		return n
	}
	var member, item uint64 // a value is an object or an array, not both
	for _, edges := range h.member {
		member = max(member, total(edges))
	}
	for _, edges := range h.item {
		item = max(item, total(edges))
	}
	n := max(member+total(h.anyMember), item+total(h.anyItem))
	if depth == 1 && what == visits {
		n += h.every
	}
	return min(n, saturated)
}

func (g *graph) head(s *jsonschema.Schema) *head {
	h := g.heads[s]
	if h == nil {
		h = &head{schema: s, member: map[string][]edge{}, item: map[int][]edge{}}
		g.heads[s] = h
		g.queue = append(g.queue, h)
		g.entries++
	}
	return h
}

func (g *graph) sum(s *jsonschema.Schema) sum {
	if m := g.sums[s]; m != nil || g.entries > maxEntries {
		return m
	}
	m := sum{s: 1}
	for _, t := range joins(s) {
		for u, k := range g.sum(t) {
			m[u] = plus(m[u], k)
		}
	}
	g.sums[s] = m
	g.entries += len(m)
	return m
}

// joins returns the subschemas that see the same value as s.
func joins(s *jsonschema.Schema) []*jsonschema.Schema {
	return there(slices.Concat([]*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else}, s.AllOf, s.AnyOf, s.OneOf, slices.Collect(maps.Values(s.DependentSchemas)))...)
}

func there(all ...*jsonschema.Schema) []*jsonschema.Schema {
	return slices.DeleteFunc(all, func(s *jsonschema.Schema) bool { return s == nil })
}

func (g *graph) expand(h *head) {
	for s, k := range g.sum(h.schema) {
		w := weigh(s)
		h.own[visits] = plus(h.own[visits], times(w[visits], k))
		h.own[steps] = plus(h.own[steps], times(w[steps], k))
		h.every = plus(h.every, times(w[visits], k))
		if s.PropertyNames != nil {
			g.names(h, s.PropertyNames, k)
		}
		g.connect(h, s, k)
	}
}

// weigh is what one visit costs: a part for each entry of a list that it walks.
func weigh(s *jsonschema.Schema) (c cost) {
	n := len(s.Required) + len(s.DependentRequired) + len(s.PatternProperties)
	if s.Enum != nil {
		n += len(s.Enum.Values)
	}
	c[visits] = uint64(1 + n/8)
	if p, ok := s.Pattern.(*pattern); ok {
		c[steps] += uint64(p.size)
	}
	for re := range s.PatternProperties {
		if p, ok := re.(*pattern); ok {
			c[steps] += uint64(p.size)
		}
	}
	return c
}

// names charges what propertyNames makes of every name: h's own text.
func (g *graph) names(h *head, s *jsonschema.Schema, k uint64) {
	for t, n := range g.sum(s) {
		w := weigh(t)
		h.every = plus(h.every, times(times(w[visits], n), k))
		h.own[steps] = plus(h.own[steps], times(times(w[steps], n), k))
	}
}

// connect leads from h to what s, which h applies k times, says of the values inside.
func (g *graph) connect(h *head, s *jsonschema.Schema, k uint64) {
	to := func(t *jsonschema.Schema) edge {
		g.entries++
		return edge{g.head(t), k}
	}
	additional, _ := s.AdditionalProperties.(*jsonschema.Schema)
	for _, t := range there(append(slices.Collect(maps.Values(s.PatternProperties)), additional, s.UnevaluatedProperties)...) {
		h.anyMember = append(h.anyMember, to(t))
	}
	for _, t := range there(s.Items2020, s.UnevaluatedItems, s.Contains) {
		h.anyItem = append(h.anyItem, to(t))
	}
	for name, t := range s.Properties {
		h.member[name] = append(h.member[name], to(t))
	}
	for i, t := range s.PrefixItems {
		h.item[i] = append(h.item[i], to(t))
	}
}
