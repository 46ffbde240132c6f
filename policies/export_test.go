package policies

import (
	"context"

	"github.com/open-policy-agent/opa/v1/rego"
)

// NewWithRego makes a PDP of another policy than the embedded one.
func NewWithRego(ctx context.Context, cfg Config, module string, options ...func(*rego.Rego)) (*PDP, error) {
	return newPDP(ctx, cfg, func(*document) source {
		return source{modules: map[string]string{"test.rego": module}, options: options}
	})
}

// AccessRego is the embedded policy.
func AccessRego() string { return accessRego }

// MaxCached is the bound of one of the two generations of the cache.
const MaxCached = maxCached

// Cached is how many answers p keeps.
func (p *PDP) Cached() int { return len(p.cache.young) + len(p.cache.old) }

// Evaluate is Decide without the cache.
func (p *PDP) Evaluate(ctx context.Context, q Request) Decision {
	d, _ := p.evaluate(ctx, q)
	return d
}

// Reads reports whether the member of the input is made for p.
func (p *PDP) Reads(member string) bool { return p.engine.reads[member] }

// BuiltinNames are what a policy may call.
func BuiltinNames() []string {
	var out []string
	for _, b := range capabilities().Builtins {
		out = append(out, b.Name)
	}
	return out
}

// AsOurs has p decide as a bundle with an access.yaml.
func (p *PDP) AsOurs() *PDP {
	p.ours = true
	return p
}

// HostOf is where a URL, a mail address or a host name goes to, empty where that is in doubt.
func HostOf(s string) string {
	if m := hostMatches(hostOf(s)); len(m) > 0 {
		return m[0]
	}
	return ""
}

// Load makes a PDP of the access.yaml at path.
func Load(ctx context.Context, path string) (*PDP, error) {
	cfg, err := Files{Access: path}.Read(ctx)
	if err != nil {
		return nil, err
	}
	return New(ctx, cfg)
}
