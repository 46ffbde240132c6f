package policies

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// maxCached bounds a generation of the cache: some 350 bytes an entry.
const maxCached = 8192

// key is all that a cached answer may depend on.
type key struct {
	subject              identity.Subject
	client               identity.ClientID
	kind                 string
	action               Action
	server, tool, prompt string
	resource             [sha256.Size]byte // of what resourceKey hashes
	login                [sha256.Size]byte // of what r.login hashes
	hours                string            // the names of those open
	rule                 string
	with                 state
}

// state is what differs between two questions, and is said in a bit each.
type state uint8

const (
	isBound state = 1 << iota
	isVisible
	isObserving
	hasNoTime // which is not a time at which no hours are open
)

func (r reads) keyOf(q *Request, n need, c *clocks) key {
	k := key{q.Subject, q.ClientID, q.kind(), q.Action, q.Server, q.Tool, q.Prompt, q.resourceKey(), r.login(q, n), "", "", 0}
	if r.has("hours", n) {
		if open := c.at(q.Time); open != nil {
			k.hours = open.key
		} else {
			k.with |= hasNoTime
		}
	}
	if r.has("rule", n) {
		k.rule = q.Rule
	}
	for _, s := range []struct {
		name string
		is   bool
		bit  state
	}{{"bound", q.Bound, isBound}, {"visible", q.visible(), isVisible}, {"observe", q.observing, isObserving}} {
		if s.is && r.has(s.name, n) {
			k.with |= s.bit
		}
	}
	return k
}

// resourceKey hashes the URI or the template, which may be long, and tells the one
// from the other. It is zero where there is neither.
func (q *Request) resourceKey() (sum [sha256.Size]byte) {
	switch {
	case q.Resource != "":
		return sha256.Sum256([]byte("uri " + q.Resource))
	case q.Template != "":
		return sha256.Sum256([]byte("template " + q.Template))
	}
	return sum
}

// login hashes what the policy reads of the subject's login: two tokens of one
// name may differ in it, and must not share an answer. It is zero where there is
// nothing to read.
func (r reads) login(q *Request, n need) (sum [sha256.Size]byte) {
	if len(q.Groups) == 0 && len(q.Claims) == 0 && q.ACR == "" && q.AuthTime.IsZero() {
		return sum // as of every workload: it shall cost nothing
	}
	b := r.appendLogin(make([]byte, 0, 1<<10), q, n)
	if len(b) == 0 {
		return sum
	}
	return sha256.Sum256(b)
}

// appendLogin writes each part with its name and length before it, so that no two
// logins run together to the same bytes.
func (r reads) appendLogin(b []byte, q *Request, n need) []byte {
	begin := func(name byte, size int) { b = binary.AppendUvarint(append(b, name), uint64(size)) }
	if r["groups"] {
		for _, g := range q.Groups {
			begin('g', len(g))
			b = append(b, g...)
		}
	}
	if (r.has("claims", n) || r["claim_values"]) && len(q.Claims) > 0 {
		begin('c', len(q.Claims))
		b = append(b, q.Claims...)
	}
	if r.has("acr", n) && q.ACR != "" {
		begin('a', len(q.ACR))
		b = append(b, q.ACR...)
	}
	if r.has("auth_time", n) && !q.AuthTime.IsZero() {
		b = binary.AppendVarint(append(b, 't'), q.AuthTime.Unix())
	}
	return b
}

// cache holds answers of one PDP, so of one policy. It keeps two generations:
// when the young one is full it becomes the old one, whose answers are dropped
// unless asked for again. So it is bounded, and a caller who asks for many names
// costs others time only.
type cache struct {
	max int

	mu         sync.RWMutex // guards young and old
	young, old map[key]Decision
}

func newCache(size int) *cache { return &cache{max: size, young: map[key]Decision{}} }

func (c *cache) get(k key) (Decision, bool) {
	c.mu.RLock()
	d, ok := c.young[k]
	var aged bool
	if !ok {
		d, aged = c.old[k]
	}
	c.mu.RUnlock()
	if aged {
		c.put(k, d)
	}
	return d, ok || aged
}

// put keeps its own copy of the names: those of k may be part of a request's
// body, which must not stay in memory for them.
func (c *cache) put(k key, d Decision) {
	k.action, k.server, k.tool, k.prompt = Action(strings.Clone(string(k.action))), strings.Clone(k.server), strings.Clone(k.tool), strings.Clone(k.prompt)
	k.rule = strings.Clone(k.rule)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.max {
		c.young, c.old = map[key]Decision{}, c.young
	}
	c.young[k] = d
}
