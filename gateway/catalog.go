package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/inspect"
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
	named        []string       // of an open tool: its parameters that have names
	output       *schema.Schema // nil when the definition has none
	headers      []paramHeader  // arguments that are repeated in headers
	broken       error          // the schema does not compile: nobody may call it
}

// catalog knows the approved tools of one upstream as it last listed them.
type catalog struct {
	cfg     Config
	server  string
	open    []string // tools that take parameters that they do not name
	pins    *PinView
	flight  singleflight.Group
	changes atomic.Int64 // how often what is served changed

	mu      sync.RWMutex // guards what follows
	tools   map[string]*tool
	waiting map[string]string // digests that are stored and not approved, by tool
	listed  time.Time
}

func newCatalog(cfg Config, pins *PinView, u Upstream) *catalog {
	c := &catalog{cfg: cfg, server: u.Name, open: u.OpenTools, pins: pins, tools: map[string]*tool{}, waiting: map[string]string{}}
	pins.OnChange(c.ordered)
	return c
}

// newPinView makes the view for the servers of the Config.
func newPinView(cfg Config) *PinView {
	servers := make([]string, len(cfg.Upstreams))
	for i, u := range cfg.Upstreams {
		servers[i] = u.Name
	}
	return NewPinView(PinViewConfig{Pins: cfg.Pins, Servers: servers, Now: cfg.Now,
		Record: func(ctx context.Context, o Order) error { return cfg.Audit.Record(ctx, o.Event()) }})
}

// Event is the audit line about the order.
func (o Order) Event() audit.Event {
	e := audit.Event{Kind: audit.Definition, Action: "tools/" + string(o.Action), Decision: audit.Allow, Operator: o.By,
		Server: o.Server, Tool: o.Tool, DefinitionDigest: o.Digest}
	if o.Action == Quarantine {
		e.Decision = audit.Deny
	}
	if o.Accepted != "" {
		e.Reason = "accepted " + o.Accepted
	}
	return e
}

// PollPins asks what operators did meanwhile. Without it a call does, now and then; with
// it nobody waits, and OnToolsChange is in time.
func (g *Gateway) PollPins(ctx context.Context) error { return g.pins.Poll(ctx) }

// OnToolsChange has f called when tools of a server may have appeared or gone because an
// operator approved a definition or took one away. f must not block.
func (g *Gateway) OnToolsChange(f func(server string)) { g.pins.OnChange(f) }

// ordered has the definitions listed again before the next call: what was not approved
// was not kept.
func (c *catalog) ordered(server string) {
	if server != c.server {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = time.Time{}
	c.changes.Add(1)
}

// get returns the tool if it is served.
func (c *catalog) get(name string) *tool {
	t := c.kept(name)
	if t == nil {
		return nil
	}
	if digest, err := c.pins.Digest(context.Background(), c.server, name); err != nil || digest != t.digest {
		return nil
	}
	return t
}

// kept returns what was approved when it was listed.
func (c *catalog) kept(name string) *tool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tools[name]
}

func (c *catalog) fresh() bool {
	c.pins.refresh(context.Background()) // an order makes it old
	c.mu.RLock()
	defer c.mu.RUnlock()
	return !c.listed.IsZero() && c.cfg.Now().Sub(c.listed) < definitionsFresh
}

func (c *catalog) markListed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = c.cfg.Now()
}

// head is what of a definition is looked at here.
type head struct {
	Name   string         `json:"name"`
	Input  jsontext.Value `json:"inputSchema"`
	Output jsontext.Value `json:"outputSchema"`
}

// learn takes a definition that the upstream listed, and returns the tool if that
// very definition is approved. A changed one takes the tool away until the
// approved definition is back or the new one has been approved.
func (c *catalog) learn(ctx context.Context, definition jsontext.Value) (*tool, error) {
	var h head
	if err := json.Unmarshal(definition, &h); err != nil {
		return nil, fmt.Errorf("tool definition: %w", err)
	}
	digest, err := token.DigestDefinition(definition)
	t := c.kept(h.Name)
	if t == nil || err != nil || t.digest != digest {
		c.forget(h.Name) // also where nobody can tell what is approved
		if err == nil {
			t, err = c.take(ctx, h, digest, definition)
		}
	}
	if err == nil {
		err = c.approved(ctx, h.Name, digest)
	}
	if err != nil {
		return nil, fmt.Errorf("tool %q: %w", truncate(h.Name), err)
	}
	return t, nil
}

// approved returns an error for a definition that is not the one that counts.
func (c *catalog) approved(ctx context.Context, name, digest string) error {
	counts, err := c.pins.Digest(ctx, c.server, name)
	if err == nil && counts != digest {
		err = errNotApproved
	}
	return err
}

// take pins the definition, and keeps it if it is approved.
func (c *catalog) take(ctx context.Context, h head, digest string, definition jsontext.Value) (*tool, error) {
	if len(definition) > MaxDefinition {
		return nil, fmt.Errorf("its definition has more than %d bytes", MaxDefinition)
	}
	if err := c.approved(ctx, h.Name, digest); err != nil && c.waits(h.Name, digest) {
		return nil, err
	}
	p := Pin{Server: c.server, Tool: pinName(h.Name), Digest: digest, Definition: definition, Seen: c.cfg.Now()}
	p.Approved = c.cfg.TrustFirstUse && c.trusted(ctx, h.Name, definition)
	stands, err := c.pins.Add(ctx, p)
	switch {
	case err != nil:
		return nil, fmt.Errorf("pin: %w", err)
	case !token.ValidToolName(h.Name):
		err = token.ErrBadToolName
	case stands.Digest != digest || !stands.Approved:
		err = errNotApproved
	default:
		return c.keep(ctx, h, digest), nil
	}
	c.wait(h.Name, digest)
	return nil, err
}

// trusted reports whether first use may approve the definition, and says why it may not.
func (c *catalog) trusted(ctx context.Context, name string, definition jsontext.Value) bool {
	codes := inspect.Blocked(inspect.Definition(definition))
	if !token.ValidToolName(name) {
		codes = append(codes, inspect.BadName)
	}
	if other := c.pins.Lookalike(c.server, name); other != "" {
		codes = append(codes, inspect.NameCollision)
	}
	if len(codes) > 0 {
		c.cfg.Log.WarnContext(ctx, "tool waits for approval: wicketgate tools diff", "server", c.server, "tool", truncate(name), "findings", codes)
	}
	return len(codes) == 0
}

// pinName is the name under which a definition is pinned: one that is never exposed is
// quoted, so that it is no other tool's, and does nothing to a store or a terminal.
func pinName(name string) string {
	if token.ValidToolName(name) {
		return name
	}
	return truncate(strconv.QuoteToASCII(name))
}

// tool makes the tool of a definition with that digest; open tools take parameters that
// they do not name.
func (h head) tool(digest string, open []string) *tool {
	t := &tool{name: h.Name, digest: digest}
	compile := schema.CompileInput
	if slices.Contains(open, h.Name) {
		compile, t.named = schema.CompileOpenInput, h.parameters()
	}
	t.input, t.broken = compile(h.Input)
	if t.broken == nil && h.Output != nil {
		t.output, t.broken = schema.CompileOutput(h.Output)
	}
	if t.broken == nil {
		t.headers, t.broken = paramHeaders(h.Input)
	}
	return t
}

// parameters are those that the definition names.
func (h head) parameters() (names []string) {
	properties, err := readObject(propertiesOf(h.Input))
	if err != nil {
		return nil // the schema does not compile
	}
	for _, m := range properties {
		names = append(names, m.name)
	}
	return names
}

func propertiesOf(schema jsontext.Value) jsontext.Value {
	o, err := readObject(schema)
	if err != nil {
		return nil
	}
	return orEmpty(o.get("properties"))
}

// check holds arguments to the definition. What an open tool takes beside its parameters
// is none of them in another spelling, by which policy does not see it and some servers
// read it.
func (t *tool) check(arguments jsontext.Value) error {
	if err := t.input.Check(arguments); err != nil || t.named == nil {
		return err
	}
	o, err := readObject(arguments)
	if err != nil {
		return err
	}
	return o.only(t.named...)
}

func (c *catalog) keep(ctx context.Context, h head, digest string) *tool {
	t := h.tool(digest, c.open)
	if t.broken != nil {
		c.cfg.Log.WarnContext(ctx, "tool not served", "server", c.server, "tool", t.name, "error", t.broken)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tools[h.Name] = t
	c.changes.Add(1)
	delete(c.waiting, h.Name)
	return t
}

// waits reports whether the definition is in the store already.
func (c *catalog) waits(name, digest string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.waiting[name] == digest
}

// wait keeps every list from writing to the store.
func (c *catalog) wait(name, digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) < MaxPins {
		c.waiting[name] = digest
	}
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
