package policies

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// accessKey is where the data of a bundle has the access.yaml that it was compiled from.
// What of the input needs a parser is computed from that, see members.
const accessKey = "access_yaml"

// Compiled is a policy as another OPA takes it, in a bundle.
type Compiled struct {
	Digest  string            // of the policy, see PDP.Digest
	Modules map[string]string // Rego, by file name
	Data    []byte            // JSON
	Roots   []string          // what the modules and the data own
}

// Compile returns what New would evaluate.
func Compile(ctx context.Context, cfg Config) (Compiled, error) {
	cfg = cfg.withDefaults()
	p, err := New(ctx, cfg)
	if err != nil {
		return Compiled{}, err
	}
	doc, err := parseAccess(cfg.Name, cfg.Access)
	if err != nil {
		return Compiled{}, err
	}
	if doc == nil {
		return Compiled{}, errors.New(cfg.Name + " is empty: there is nothing to compile")
	}
	data, _ := compile(cfg.Name, doc)
	raw, err := data.canonical()
	if err != nil {
		return Compiled{}, fmt.Errorf("compile %s: %w", cfg.Name, err)
	}
	members := map[string]jsontext.Value{}
	if err := json.Unmarshal(raw, &members); err != nil {
		return Compiled{}, fmt.Errorf("compile %s: %w", cfg.Name, err)
	}
	if members[accessKey], err = json.Marshal(string(cfg.Access)); err != nil {
		return Compiled{}, fmt.Errorf("compile %s: %w", cfg.Name, err)
	}
	c := Compiled{Digest: p.Digest(), Modules: embedded(doc).modules, Roots: append(slices.Sorted(maps.Keys(members)), "wicketgate")}
	for i, m := range cfg.Rego { // whose paths are those of this machine
		c.Modules[fmt.Sprintf("deny/%d_%s", i, path.Base(filepath.ToSlash(m.Name)))] = m.Text
	}
	c.Data, err = json.Marshal(members, json.Deterministic(true), jsontext.WithIndent("  "))
	return c, err
}
