package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/policies"
)

func policyCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether an access.yaml is one, or each mistake in it",
		Long: `Reads an access.yaml as serve would, and decides nothing. Each mistake is a line that
begins with FILE:LINE:COLUMN. Exit code 0: it can be used; 2: it cannot.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := loadPolicy(c.Context(), args[0], c.ErrOrStderr())
			if err != nil {
				return err
			}
			if p.Digest() == "" {
				fmt.Fprintf(c.OutOrStdout(), "%s is empty: everything is denied\n", escape(args[0]))
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "%s can be used: policy %s\n", escape(args[0]), p.Digest())
			return nil
		},
	}
}

func policySchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of access.yaml, for editors",
		Long: `Prints the JSON Schema (2020-12) of access.yaml. Editors complete and check by it; a first
line of  # yaml-language-server: $schema=access.schema.json  names a file of it. It knows
less than policy check, which also knows what a name refers to.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(policies.Schema())
			return err
		},
	}
}

// policyFlags say which policy a command is about.
type policyFlags struct {
	whereFlags
	file string
}

func (f *policyFlags) register(c *cobra.Command) {
	f.whereFlags.register(c)
	c.Flags().StringVar(&f.file, "policy", "", "`file` of the policy; default: the one of --config or --data")
}

// path is the file.
func (f *policyFlags) path(ctx context.Context) (string, error) {
	if f.file != "" {
		return f.file, nil
	}
	h, err := f.house(ctx)
	if err != nil {
		return "", err
	}
	if h.Access == "" {
		h.Access = filepath.Join(h.Data, fileAccess)
	}
	return h.Access, nil
}

// loadPolicy reads a policy. What is wrong with it is shown as editors read it.
func loadPolicy(ctx context.Context, path string, stderr io.Writer) (*policies.PDP, error) {
	p, err := policies.Load(ctx, path)
	var missing *os.PathError
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
