package policies

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	defaultTimeout = time.Second // a decision takes 20 µs: this ends a runaway, not one that waits for a core
	maxAccess      = 16 << 20    // bytes of access.yaml: some 100,000 names
)

// Config is what a PDP is made of.
type Config struct {
	Access  []byte        // access.yaml; an empty document is no policy
	Name    string        // of Access, for errors and Decision.Rule; default access.yaml
	Timeout time.Duration // of one decision; default 1 s

	Rego   []Module // denials that are added to Access
	Bundle *Bundle  // takes the place of Access
	OPA    OPA      // decides in the place of what Access compiles to; Access may be empty

	// Enforced are servers that may not be in observe mode: that one is is an error.
	Enforced []string
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "access.yaml"
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

// PDP decides by one policy. It never changes: a new policy is a new PDP. It is
// safe for concurrent use; nil and the zero PDP deny everything.
type PDP struct {
	engine  *engine // nil: no policy
	rules   map[string]string
	servers map[string]bool // that some role names
	digest  string
	timeout time.Duration
	cache   *cache
	doc     *document
	clocks  *clocks
	facts   *factReader
	foreign bool  // which servers it names is not known
	ours    bool  // it decides as the embedded Rego does, wherever it is evaluated
	serial  int64 // of its bundle

	ownRego   bool // a person's own Rego denies too
	explainer explainer
}

// New makes a PDP. The error names file:line:column and what to do, one line for
// each mistake.
func New(ctx context.Context, cfg Config) (*PDP, error) {
	cfg = cfg.withDefaults()
	switch {
	case cfg.Bundle != nil:
		return newFromBundle(ctx, cfg)
	case cfg.OPA != nil:
		return newRemote(cfg)
	}
	return newPDP(ctx, cfg, embedded)
}

func newPDP(ctx context.Context, cfg Config, sourceFor func(*document) source) (*PDP, error) {
	cfg = cfg.withDefaults()
	if len(cfg.Access) > maxAccess {
		return nil, fmt.Errorf("%s: larger than %d MiB", cfg.Name, maxAccess>>20)
	}
	doc, err := parseAccess(cfg.Name, cfg.Access)
	if err != nil {
		return nil, err
	}
	if doc == nil {
		return &PDP{}, nil
	}
	if err := doc.mayObserve(cfg.Name, cfg.Enforced); err != nil {
		return nil, err
	}
	data, rules := compile(cfg.Name, doc)
	raw, err := data.canonical()
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", cfg.Name, err)
	}
	src := sourceFor(doc)
	if err := src.add(cfg.Rego); err != nil {
		return nil, err
	}
	if src.data != nil {
		raw = src.data
	}
	e, err := newEngine(ctx, src, doc, raw)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", cfg.Name, err)
	}
	return &PDP{
		engine: e, rules: rules, servers: doc.servers(), digest: digest(src.modules, raw), timeout: cfg.Timeout, cache: newCache(maxCached),
		doc: doc, clocks: newClocks(doc.hours), facts: newFactReader(doc), ownRego: len(cfg.Rego) > 0,
	}, nil
}

// Digest identifies the policy: the SHA-256 of its Rego and of what access.yaml
// compiles to, in base64url. Comments, layout, order and the file's name do not
// change it. It is empty without a policy. That of a policy elsewhere is made of the
// revisions that its OPA told with the newest answer, or DigestUnknown.
func (p *PDP) Digest() string {
	switch {
	case p == nil:
		return ""
	case p.engine != nil && p.engine.remote != nil:
		return *p.engine.remote.digest.Load()
	}
	return p.digest
}

// Names reports whether any role grants anything on the server: if none does,
// nobody can use it, which an operator wants to be told. Of a policy that is not known
// by its access.yaml it says yes.
func (p *PDP) Names(server string) bool { return p != nil && (p.foreign || p.servers[server]) }

// Serial is that of the bundle that p was made of, 0 if it has none.
func (p *PDP) Serial() int64 {
	if p == nil {
		return 0
	}
	return p.serial
}

// Decide answers q. It never fails: an error, a timeout, a panic and an answer
// that is not a decision are denials, each with its own Reason.
//
// It does not check that q tells the truth: the caller has authenticated the
// subject, and asks only about tools whose definition is approved.
func (p *PDP) Decide(ctx context.Context, q Request) (d Decision) {
	if p == nil || p.engine == nil {
		return Decision{Reason: ReasonNoPolicy}
	}
	defer func() {
		if r := recover(); r != nil {
			d = p.deny(ReasonPanic, fmt.Errorf("panic: %v", r))
		}
	}()
	if r := q.check(); r != "" {
		return p.deny(r, nil)
	}
	if err := ctx.Err(); err != nil {
		return p.deny(expired(err), err)
	}
	d = p.decide(ctx, q)
	if !d.allow && p.observed(&q, d.Reason) {
		d = p.observe(ctx, q, d)
	}
	return d
}

// decide answers from the cache what depends on nothing but the key. So do its facts: what
// of the question they have belongs into the key, even where no answer depends on it.
func (p *PDP) decide(ctx context.Context, q Request) Decision {
	need := p.engine.always | p.facted(&q)
	if len(q.Claims) > 0 && len(p.facts.claims) > 0 {
		need |= needClaims
	}
	if !need.onlyKey(&q) {
		d, _ := p.evaluate(ctx, q)
		return d
	}
	k := need.keyOf(&q, p.clocks)
	if d, ok := p.cache.get(k); ok {
		return d
	}
	d, final := p.evaluate(ctx, q)
	if final {
		p.cache.put(k, d)
	}
	return d
}

// evaluate asks the Rego. final is whether the policy itself gave the answer,
// which it would give again, and not something that went wrong.
func (p *PDP) evaluate(ctx context.Context, q Request) (d Decision, final bool) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	a, reason, err := p.engine.ask(ctx, q)
	// Not every built-in notices that it should stop: an answer that comes too
	// late is none.
	if err := ctx.Err(); err != nil {
		return p.deny(expired(err), err), false
	}
	if reason != "" {
		return p.deny(reason, err), false
	}
	return Decision{
		allow: a.allow, Reason: a.reason, Rule: p.rule(a.rule), PolicyDigest: cmp.Or(a.digest, p.digest),
		Detail: a.detail, Needs: a.needs, Terms: a.terms, Risk: a.risk, Facts: p.facts.read(&q, p.facted(&q)),
	}, true
}

// facted is which facts of q to keep: all, where only the policy knows which it read.
func (p *PDP) facted(q *Request) need {
	if p.ours {
		return needAll
	}
	return p.engine.targets.of(q)
}

// rule adds where in the file it is. That is not in the data, whose digest must
// not depend on file names.
func (p *PDP) rule(name string) string {
	if at := p.rules[name]; at != "" {
		return at + ": " + name
	}
	return name
}

func (p *PDP) deny(r Reason, err error) Decision {
	return Decision{Reason: r, PolicyDigest: p.Digest(), Err: err}
}

func expired(err error) Reason {
	if errors.Is(err, context.DeadlineExceeded) {
		return ReasonTimeout
	}
	return ReasonCanceled
}
