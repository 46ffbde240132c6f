package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/policies"
)

func policyCheckCommand() *cobra.Command {
	var rego []string
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether an access.yaml is one, or each mistake in it",
		Long: `Reads an access.yaml as serve would, and decides nothing. Each mistake is a line that
begins with FILE:LINE:COLUMN. Exit code 0: it can be used; 2: it cannot.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := loadPolicy(c.Context(), policies.Files{Access: args[0], Rego: rego}, c.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, w := range p.Warnings(time.Now()) {
				fmt.Fprintf(c.ErrOrStderr(), "warning: %s\n", escape(w))
			}
			if p.Digest() == "" {
				fmt.Fprintf(c.OutOrStdout(), "%s is empty: everything is denied\n", escape(args[0]))
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "%s can be used: policy %s\n", escape(args[0]), p.Digest())
			return nil
		},
	}
	registerRego(c, &rego)
	return c
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
