package policies

import (
	"strings"
	"sync"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// maxCached bounds a generation of the cache: some 300 bytes an entry.
const maxCached = 8192

// key is all that a cached answer may depend on.
type key struct {
	subject      identity.Subject
	client       identity.ClientID
	action       Action
	server, tool string
}

func keyOf(q Request) key { return key{q.Subject, q.ClientID, q.Action, q.Server, q.Tool} }

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
	k.action, k.server, k.tool = Action(strings.Clone(string(k.action))), strings.Clone(k.server), strings.Clone(k.tool)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.max {
		c.young, c.old = map[key]Decision{}, c.young
	}
	c.young[k] = d
}
