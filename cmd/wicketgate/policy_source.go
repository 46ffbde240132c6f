package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/opaclient"
	"github.com/wicketgate/wicketgate/policies"
)

// fileSerial in the data folder has the highest serial of a bundle that was in effect.
const fileSerial = "policy.serial"

// pdpSource is where policy comes from besides access.yaml.
type pdpSource struct {
	Rego    []string          // paths
	Bundle  *bundleSource     // nil: none
	OPA     *opaclient.Client // nil: none
	OPAURL  string
	Timeout time.Duration // of OPA
}

// readPolicy reads what the policy is made of, as it is now. Servers that are called with
// credentials of Vault are never only observed.
func (c *houseConfig) readPolicy(ctx context.Context) (policies.Config, error) {
	cfg, err := c.policySource(ctx)
	cfg.Enforced = slices.Collect(maps.Keys(c.Legacy))
	return cfg, err
}

func (c *houseConfig) policySource(ctx context.Context) (policies.Config, error) {
	switch {
	case c.PDP.Bundle != nil:
		b, err := c.PDP.Bundle.read(ctx, c.Data)
		return policies.Config{Bundle: b}, err
	case c.PDP.OPA != nil && c.Access == "":
		return policies.Config{OPA: c.PDP.OPA, Timeout: c.PDP.Timeout}, nil
	}
	cfg, err := policies.Files{Access: c.Access, Rego: c.PDP.Rego}.Read(ctx)
	if c.PDP.OPA != nil {
		cfg.OPA, cfg.Timeout = c.PDP.OPA, c.PDP.Timeout
	}
	return cfg, err
}

// policyName says where policy comes from.
func (c *houseConfig) policyName() string {
	if c.PDP.Bundle != nil {
		return c.PDP.Bundle.path
	}
	return cmp.Or(c.PDP.OPAURL, c.Access)
}

// bundleSource is where a bundle is, and who signs it.
type bundleSource struct {
	path   string             // file or folder, or the URL
	server *opaclient.Bundles // nil: path is here
	key    policies.BundleKey
}

func (s *bundleSource) read(ctx context.Context, data string) (b *policies.Bundle, err error) {
	b = &policies.Bundle{Name: s.path, Key: s.key}
	if b.Least, err = leastSerial(data); err != nil {
		return nil, err
	}
	if s.server != nil {
		b.Tarball, err = s.server.Get(ctx)
		return b, err
	}
	info, err := os.Stat(s.path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read bundle: %w", err)
	case info.IsDir():
		b.Tarball, err = policies.PackBundle(s.path)
		return b, err
	}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	defer f.Close()
	b.Tarball, err = io.ReadAll(io.LimitReader(f, policies.MaxBundle))
	return b, err
}

// leastSerial is the serial below which a bundle was rolled back.
func leastSerial(data string) (int64, error) {
	path := filepath.Join(data, fileSerial)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s is not the serial of a bundle: restore it, or write the one that is in effect", path)
	}
	return n, nil
}

// keepSerial remembers that of a policy that takes effect, whole or not at all.
func keepSerial(data string, serial int64) error {
	least, err := leastSerial(data)
	if err != nil || serial <= least {
		return err
	}
	path := filepath.Join(data, fileSerial)
	if err := os.WriteFile(path+".new", []byte(strconv.FormatInt(serial, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("remember the bundle's serial: %w", err)
	}
	return os.Rename(path+".new", path)
}
