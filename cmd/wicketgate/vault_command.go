package main

import (
	"errors"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

// vaultTokenEnv is an operator's own token of Vault, as Vault's own command takes it.
const vaultTokenEnv = "VAULT_TOKEN"

// vaultCommand waits between two looks with wait.
func vaultCommand(wait waitFunc) *cobra.Command {
	c := &cobra.Command{
		Use:   "vault",
		Short: "Show how servers with credential: vault stand, rotate their keys, end their leases",
		Long: `Looks after the servers that are called with credentials of HashiCorp Vault, beside a
running process.

What is read in Vault is read as the process does: status and rotate log in by the
configuration. With login.method jwt that needs the keys of the authorization server
at hand; a secret-id that was wrapped for the process is for the process alone. Where
we cannot log in, or our login may not do it, set VAULT_TOKEN to a token of your own.`,
	}
	c.AddCommand(vaultStatusCommand(), vaultRotateCommand(), vaultRevokeCommand(wait))
	return c
}

func vaultStatusCommand() *cobra.Command {
	var where whereFlags
	var f statusFlags
	c := &cobra.Command{
		Use:   "status",
		Short: "Show every server with credential: vault, its leases, and how old its key is",
		Long: `Shows whether Vault serves and our login there works; each server with credential:
vault, how many leases are recorded for it, and how old its key is (kv and
database-static; what the other engines make is made for a call); and the leases that
could not be ended, with the reason and the next attempt. What cannot be known says so.

A key is read for that as a call would read it, and shown nowhere.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := where.house(c.Context())
			if err != nil {
				return err
			}
			return f.run(c.Context(), h, c.OutOrStdout())
		},
	}
	where.register(c)
	c.Flags().BoolVar(&f.leases, "leases", false, "list every lease")
	c.Flags().BoolVar(&f.json, "json", false, "for programs")
	return c
}

func vaultRotateCommand() *cobra.Command {
	var where whereFlags
	c := &cobra.Command{
		Use:   "rotate SERVER",
		Short: "Have Vault make a new password for a server of engine database-static",
		Long: `Has Vault change the password of the user that a server of engine database-static is
called with, now. Calls from then on get the new one; what a process keeps per session
or subject it uses until its ttl. The policy of who logs in needs update on
MOUNT/rotate-role/NAME.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := where.house(c.Context())
			if err != nil {
				return err
			}
			return rotateServer(c.Context(), h, args[0], c.OutOrStdout())
		},
	}
	where.register(c)
	return c
}

func vaultRevokeCommand(wait waitFunc) *cobra.Command {
	var where whereFlags
	f := endFlags{wait: wait}
	c := &cobra.Command{
		Use:   "revoke --server NAME | --subject NAME | --id ID",
		Short: "End leases now, in use or not",
		Long: `Has the processes that hold them end leases at once, in use or not: those of a server, of
a subject, or both, or one by its ID (wicketgate vault status --leases). Those who are cut
off may call again: wicketgate freeze stops that. Who did it is written into the audit
log of the process. It needs no login to Vault, and waits until the leases are gone.

Exit codes: 0 they are gone; 1 some are not yet, and are tried again.`,
		Example: "  wicketgate vault revoke --server reports --config wicketgate.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := where.house(c.Context())
			if err != nil {
				return err
			}
			return f.run(c.Context(), h, c.OutOrStdout())
		},
	}
	where.register(c)
	c.Flags().StringVar(&f.of.Server, "server", "", "all of the server with this `name`")
	c.Flags().StringVar(&f.of.Subject, "subject", "", "all of the subject with this `name`")
	c.Flags().StringVar(&f.of.ID, "id", "", "the one with this `ID`")
	c.Flags().DurationVar(&f.timeout, "timeout", 15*time.Second, "`time` to wait until they are gone")
	return c
}

// operator is who runs the command.
func operator() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("find out who you are, for the audit log: %w", err)
	}
	return strings.ToValidUTF8(u.Username, "\ufffd"), nil // it is told in JSON
}

// check refuses what would end more than somebody meant, or nothing.
func (f endFlags) check(h houseConfig) error {
	_, configured := h.Legacy[f.of.Server]
	switch {
	case f.of == vaultbridge.Selection{}:
		return errors.New("which leases? write --server, --subject or --id: wicketgate vault status --leases lists all")
	case f.of.ID != "" && (f.of.Server != "" || f.of.Subject != ""):
		return errors.New("--id names one lease: write it alone")
	case f.of.Server != "" && len(h.Legacy) > 0 && !configured:
		return fmt.Errorf("no server %s has credential: vault in the configuration: nothing was ended", shown(f.of.Server))
	}
	return nil
}
