package policies

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Files are where a policy is kept.
type Files struct {
	Access string // path of access.yaml
}

// Read returns what is in the files. One that is missing or too large is an error, never
// an empty policy.
func (f Files) Read(context.Context) (Config, error) {
	access, err := readFile(f.Access, maxAccess)
	return Config{Access: access, Name: f.Access}, err
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
