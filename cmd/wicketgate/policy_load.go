package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/policies"
)

// policyFlags say which policy a command is about.
type policyFlags struct {
	whereFlags
	file string
	rego []string
}

func (f *policyFlags) register(c *cobra.Command) {
	f.whereFlags.register(c)
	c.Flags().StringVar(&f.file, "policy", "", "access.yaml `file`; default: the policy of --config or --data")
	registerRego(c, &f.rego)
}

func registerRego(c *cobra.Command, to *[]string) {
	c.Flags().StringArrayVar(to, "rego", nil, "`file` of package wicketgate.deny that goes with the access.yaml (repeatable)")
}

// load reads the policy of the file, or the one that a process with the configuration has.
func (f *policyFlags) load(ctx context.Context, stderr io.Writer) (*policies.PDP, error) {
	if f.file != "" {
		return loadPolicy(ctx, policies.Files{Access: f.file, Rego: f.rego}, stderr)
	}
	if len(f.rego) > 0 {
		return nil, errors.New("--rego goes with the access.yaml that --policy names")
	}
	return f.current(ctx, stderr)
}

// current is the policy that a process has that starts now.
func (f *whereFlags) current(ctx context.Context, stderr io.Writer) (*policies.PDP, error) {
	h, err := f.policyHouse(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := h.readPolicy(ctx)
	return newPolicy(ctx, cfg, err, stderr)
}

// policyHouse is house with the policy that development mode has without being told.
func (f *whereFlags) policyHouse(ctx context.Context) (houseConfig, error) {
	h, err := f.house(ctx)
	if h.Access == "" && f.config == "" {
		h.Access = filepath.Join(h.Data, fileAccess)
	}
	return h, err
}

func loadPolicy(ctx context.Context, files policies.Files, stderr io.Writer) (*policies.PDP, error) {
	cfg, err := files.Read(ctx)
	return newPolicy(ctx, cfg, err, stderr)
}

// newPolicy makes a policy of what was read. What is wrong with it is shown as editors
// read it.
func newPolicy(ctx context.Context, cfg policies.Config, err error, stderr io.Writer) (*policies.PDP, error) {
	if err != nil {
		return nil, &configError{err}
	}
	p, err := policies.New(ctx, cfg)
	var missing *fs.PathError
	switch {
	case errors.As(err, &missing):
		return nil, &configError{err}
	case err != nil:
		return nil, mistaken(stderr, err)
	}
	return p, nil
}

// mistaken shows the mistakes in a file, a line each, and returns the error that says no
// more and has the exit code of a wrong configuration.
func mistaken(stderr io.Writer, err error) error {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(stderr, escape(strings.TrimSuffix(line, "\n")))
	}
	return &configError{errReported}
}
