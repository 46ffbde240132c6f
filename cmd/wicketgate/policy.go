package main

import "github.com/spf13/cobra"

func policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Work on the policy beside a running server: nothing here changes what it does"}
	c.AddCommand(policyCheckCommand(), policySchemaCommand(), policyTestCommand(), policyWhyCommand(), policyMatrixCommand(), policySuggestCommand(), policyReplayCommand(), policyCompileCommand())
	return c
}
