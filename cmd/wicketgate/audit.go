package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/sqlite"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Work with the audit log"}
	var data, config string
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Check that the audit log is whole, offline",
		Long: `Checks every line of audit.jsonl against the one before it, the signatures of its
heads, and the newest head that the store holds. It says where the log breaks:
changed, missing, reordered or cut-off lines. A torn last line is what kill -9
leaves, and no tampering. Exit code 0: whole; 1: tampered with or unreadable.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h := houseConfig{Data: data}
			if config != "" {
				s, err := loadConfig(c.Context(), config)
				if err != nil {
					return &configError{err}
				}
				h = s.house
			}
			h.setPaths()
			return verifyAudit(c.Context(), h, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	verify.Flags().StringVar(&data, "data", ".wicketgate", "`folder` with the store and the audit log")
	verify.Flags().StringVar(&config, "config", "", "configuration `file` of wicketgate serve, which says where they are")
	verify.MarkFlagsMutuallyExclusive("data", "config")
	c.AddCommand(verify)
	return c
}

func verifyAudit(ctx context.Context, h houseConfig, stdout, stderr io.Writer) (err error) {
	store, err := sqlite.OpenReadOnly(ctx, h.Store.SQLite)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	known, err := auditKeysOf(ctx, store)
	if err != nil {
		return err
	}
	report, err := audit.Verify(ctx, audit.VerifyConfig{Path: h.Audit, Heads: store, Keys: known})
	if errors.Is(err, audit.ErrTampered) {
		fmt.Fprintln(stderr, report)
		return errReported
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, report)
	return nil
}

// auditKeysOf reads the public halves of all audit keys; no key-encryption key is
// needed to verify.
func auditKeysOf(ctx context.Context, store *sqlite.Store) (audit.Keys, error) {
	records, err := store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]keys.AuditVerifier{}
	for _, r := range records {
		if r.Use != keys.UseAudit {
			continue
		}
		if known[r.KeyID], err = keys.ParseAuditKey(r); err != nil {
			return nil, err
		}
	}
	return auditKeys(func(kid string) (keys.AuditVerifier, bool) { k, ok := known[kid]; return k, ok }), nil
}
