package policies

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Files are where a policy is kept.
type Files struct {
	Access string   // path of access.yaml
	Rego   []string // paths of modules of package wicketgate.deny
}

// maxRego is the most bytes of a Module.
const maxRego = 1 << 20

// Read returns what is in the files. One that is missing or too large is an error, never
// an empty policy.
func (f Files) Read(context.Context) (Config, error) {
	access, err := readFile(f.Access, maxAccess)
	c := Config{Access: access, Name: f.Access}
	if err != nil {
		return c, err
	}
	c.Rego, err = f.modules()
	return c, err
}

func (f Files) modules() (out []Module, err error) {
	for _, path := range f.Rego {
		text, err := readFile(path, maxRego)
		switch {
		case err != nil:
			return nil, err
		case len(text) > maxRego:
			return nil, fmt.Errorf("%s: larger than %d MiB", path, maxRego>>20)
		}
		out = append(out, Module{Name: path, Text: string(text)})
	}
	return out, nil
}

// readFile reads no more than one byte more than most: what is larger is refused by who
// knows what it is.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return b, nil
}
