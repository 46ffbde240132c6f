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
	action               Action
	server, tool, prompt string
	resource             [sha256.Size]byte // of what resourceKey hashes
	read                 [sha256.Size]byte // of what need.hash hashes
	with                 state
}

// state is what differs between two questions, and is said in a bit each.
type state uint8

const (
	isPerson state = 1 << iota
	isBound
	isVisible
	isObserving
)

func (n need) keyOf(q *Request, c *clocks) key {
	return key{q.Subject, q.ClientID, q.Action, q.Server, q.Tool, q.Prompt, q.resourceKey(), n.hash(q, c), n.state(q)}
}

func (n need) state(q *Request) (s state) {
	if q.kind() == "user" {
		s |= isPerson
	}
	if q.Bound && n&needBound != 0 {
		s |= isBound
	}
	if n&needVisible != 0 && q.visible() {
		s |= isVisible
	}
	if q.observing {
		s |= isObserving
	}
	return s
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

// hash hashes what the policy reads of the subject's login, which hours are open and what
// was approved: two tokens of one name may differ in it, and must not share an answer. It
// is zero where there is nothing to read.
func (n need) hash(q *Request, c *clocks) (sum [sha256.Size]byte) {
	timed := n&needHours != 0
	if len(q.Groups) == 0 && len(q.Claims) == 0 && q.ACR == "" && q.AuthTime.IsZero() && q.Rule == "" && !timed {
		return sum // as of every workload: it shall cost nothing
	}
	b := n.appendLogin(make([]byte, 0, 1<<10), q)
	if q.Rule != "" && n&needRule != 0 {
		b = append(binary.AppendUvarint(append(b, 'r'), uint64(len(q.Rule))), q.Rule...)
	}
	if timed {
		if open := c.at(q.Time); open != nil { // no time is not a time at which none is open
			b = append(binary.AppendUvarint(append(b, 'h'), uint64(len(open.key))), open.key...)
		}
	}
	if len(b) == 0 {
		return sum
	}
	return sha256.Sum256(b)
}

// appendLogin writes each part with its name and length before it, so that no two
// logins run together to the same bytes.
func (n need) appendLogin(b []byte, q *Request) []byte {
	begin := func(name byte, size int) { b = binary.AppendUvarint(append(b, name), uint64(size)) }
	if n&needGroups != 0 {
		for _, g := range q.Groups {
			begin('g', len(g))
			b = append(b, g...)
		}
	}
	if n&(needClaims|needClaimValues) != 0 && len(q.Claims) > 0 {
		begin('c', len(q.Claims))
		b = append(b, q.Claims...)
	}
	if n&needACR != 0 && q.ACR != "" {
		begin('a', len(q.ACR))
		b = append(b, q.ACR...)
	}
	if n&needAuthTime != 0 && !q.AuthTime.IsZero() {
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.max {
		c.young, c.old = map[key]Decision{}, c.young
	}
	c.young[k] = d
}
