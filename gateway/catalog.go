package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	stdjson "encoding/json"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/jsonschema-go/jsonschema"
	"golang.org/x/sync/singleflight"

	"github.com/wicketgate/wicketgate/internal/token"
)

// definitionsFresh is how long the definitions that the upstream last listed
// count before a call; then it is asked again.
const definitionsFresh = time.Minute

// tool is an approved definition.
type tool struct {
	name, digest string
	input        *jsonschema.Resolved
	output       *jsonschema.Resolved // nil when the definition has none
	broken       error                // the schema does not compile: nobody may call it
}

// catalog knows the approved tools of one upstream as it last listed them.
type catalog struct {
	cfg    Config
	server string
	flight singleflight.Group

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

func (c *catalog) fresh() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return !c.listed.IsZero() && c.cfg.Now().Sub(c.listed) < definitionsFresh
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
	digest, err := token.Digest(definition)
	if err != nil {
		return nil, fmt.Errorf("tool %s: %w", head.Name, err)
	}
	if t := c.get(head.Name); t != nil && t.digest == digest {
		return t, nil
	}
	pin, err := c.cfg.Pins.AddPin(ctx, Pin{Server: c.server, Tool: head.Name, Digest: digest, Definition: definition, Seen: c.cfg.Now(), Approved: c.cfg.TrustFirstUse})
	if err != nil {
		return nil, fmt.Errorf("pin tool %s: %w", head.Name, err)
	}
	if pin.Digest != digest || !pin.Approved {
		c.forget(head.Name)
		return nil, fmt.Errorf("tool %s: its definition is not the approved one", head.Name)
	}
	t := &tool{name: head.Name, digest: digest}
	t.input, t.broken = compile(head.Input, true)
	if t.broken == nil && head.Output != nil {
		t.output, t.broken = compile(head.Output, false)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tools[head.Name] = t
	return t, nil
}

func (c *catalog) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tools, name)
}

// compile reads a schema. One for input is closed: what it does not name is
// refused, at every level that names anything. References to other documents are
// never followed.
func compile(raw jsontext.Value, closed bool) (*jsonschema.Resolved, error) {
	if raw == nil {
		return nil, errors.New("no inputSchema")
	}
	var s jsonschema.Schema
	if err := stdjson.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if closed {
		closeSchema(&s, true)
	}
	r, err := s.Resolve(&jsonschema.ResolveOptions{Loader: nil})
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	return r, nil
}

// closeSchema refuses unknown properties of the object that s describes, unless s
// says itself what becomes of them, and goes on with what s says of the object's
// values. Where other schemas join in by reference or combination, only
// unevaluatedProperties sees all that they name (JSON Schema 2020-12 §11.3).
// A value that s leaves free, as {} or {"type":"object"}, stays free.
func closeSchema(s *jsonschema.Schema, root bool) {
	if s == nil {
		return
	}
	joined := s.Ref != "" || s.DynamicRef != "" || len(s.AllOf)+len(s.AnyOf)+len(s.OneOf) > 0 || s.If != nil || len(s.DependentSchemas) > 0
	named := len(s.Properties) > 0 || len(s.PatternProperties) > 0
	if s.AdditionalProperties == nil && s.UnevaluatedProperties == nil && (root || named || joined) {
		if joined {
			s.Schema = "" // draft-07 does not know unevaluatedProperties
			s.UnevaluatedProperties = nothing()
		} else {
			s.AdditionalProperties = nothing()
		}
	}
	for _, v := range s.Properties {
		closeSchema(v, false)
	}
	for _, v := range s.PatternProperties {
		closeSchema(v, false)
	}
	closeSchema(s.Items, false)
	for _, v := range s.PrefixItems {
		closeSchema(v, false)
	}
}

func nothing() *jsonschema.Schema { return &jsonschema.Schema{Not: &jsonschema.Schema{}} }

// check validates arguments against the closed input schema; the error is for the
// client: where and what.
func (t *tool) check(arguments jsontext.Value) error {
	var v map[string]any
	if err := json.Unmarshal(arguments, &v); err != nil {
		return err
	}
	if v == nil {
		v = map[string]any{}
	}
	return t.input.Validate(v)
}

// problem words a validation error for the client.
func problem(err error) string {
	s := strings.ReplaceAll(err.Error(), "validating root: ", "")
	s = strings.ReplaceAll(s, "validating ", "")
	if len(s) > 400 {
		s = s[:400] + "…"
	}
	return s
}

func truncate(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
