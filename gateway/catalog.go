package gateway

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"

	"github.com/wicketgate/wicketgate/internal/schema"
	"github.com/wicketgate/wicketgate/internal/token"
)

// definitionsFresh is how long the definitions that the upstream last listed
// count before a call; then it is asked again.
const definitionsFresh = time.Minute

// tool is an approved definition.
type tool struct {
	name, digest string
	input        *schema.Schema
	output       *schema.Schema // nil when the definition has none
	headers      []paramHeader  // arguments that are repeated in headers
	broken       error          // the schema does not compile: nobody may call it
}

// catalog knows the approved tools of one upstream as it last listed them.
type catalog struct {
	cfg     Config
	server  string
	flight  singleflight.Group
	changes atomic.Int64 // how often what is served changed

	mu     sync.RWMutex // guards what follows
	tools  map[string]*tool
	listed time.Time
}

func newCatalog(cfg Config, server string) *catalog {
	return &catalog{cfg: cfg, server: server, tools: map[string]*tool{}}
}

func (c *catalog) get(name string) *tool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tools[name]
}

func (c *catalog) fresh() bool { return c.listedWithin(definitionsFresh) }

func (c *catalog) listedWithin(d time.Duration) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return !c.listed.IsZero() && c.cfg.Now().Sub(c.listed) < d
}

func (c *catalog) markListed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = c.cfg.Now()
}

// learn takes a definition that the upstream listed, and returns the tool if that
// very definition is approved. A changed one takes the tool away until the
// approved definition is back or the new one has been approved.
func (c *catalog) learn(ctx context.Context, definition jsontext.Value) (*tool, error) {
	var head struct {
		Name   string         `json:"name"`
		Input  jsontext.Value `json:"inputSchema"`
		Output jsontext.Value `json:"outputSchema"`
	}
	if err := json.Unmarshal(definition, &head); err != nil {
		return nil, fmt.Errorf("tool definition: %w", err)
	}
	if !token.ValidToolName(head.Name) {
		return nil, fmt.Errorf("tool %q: %w", truncate(head.Name), token.ErrBadToolName)
	}
	digest, err := token.DigestDefinition(definition)
	if t := c.get(head.Name); t != nil && err == nil && t.digest == digest {
		return t, nil
	}
	c.forget(head.Name) // also where nobody can tell what is approved
	if err != nil {
		return nil, fmt.Errorf("tool %s: %w", head.Name, err)
	}
	pin, err := c.cfg.Pins.AddPin(ctx, Pin{Server: c.server, Tool: head.Name, Digest: digest, Definition: definition, Seen: c.cfg.Now(), Approved: c.cfg.TrustFirstUse})
	if err != nil {
		return nil, fmt.Errorf("pin tool %s: %w", head.Name, err)
	}
	if pin.Digest != digest || !pin.Approved {
		return nil, fmt.Errorf("tool %s: its definition is not the approved one", head.Name)
	}
	t := &tool{name: head.Name, digest: digest}
	t.input, t.broken = schema.CompileInput(head.Input)
	if t.broken == nil && head.Output != nil {
		t.output, t.broken = schema.CompileOutput(head.Output)
	}
	if t.broken == nil {
		t.headers, t.broken = paramHeaders(head.Input)
	}
	if t.broken != nil {
		c.cfg.Log.WarnContext(ctx, "tool not served", "server", c.server, "tool", t.name, "error", t.broken)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tools[head.Name] = t
	c.changes.Add(1)
	return t, nil
}

func (c *catalog) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tools[name] != nil {
		c.changes.Add(1)
	}
	delete(c.tools, name)
}

func truncate(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}

// version changes whenever what the catalog holds does.
func (c *catalog) version() int64 { return c.changes.Load() }
