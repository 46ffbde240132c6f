package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/keys"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Work with the audit log"}
	var where whereFlags
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Check that the audit log is whole, offline",
		Long: `Checks every line of audit.jsonl against the one before it, the signatures of its
heads, and the newest head that the store holds. It says where the log breaks:
changed, missing, reordered or cut-off lines. A torn last line is what kill -9
leaves, and no tampering. Exit code 0: whole; 1: tampered with or unreadable.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := where.house(c.Context())
			if err != nil {
				return err
			}
			return verifyAudit(c.Context(), h, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	where.register(verify)
	c.AddCommand(verify)
	return c
}

func verifyAudit(ctx context.Context, h houseConfig, stdout, stderr io.Writer) (err error) {
	store, err := openForReading(ctx, h.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	known, err := auditKeysOf(ctx, store)
	if err != nil {
		return err
	}
	report, err := audit.Verify(ctx, audit.VerifyConfig{Path: h.Audit, Name: h.AuditName, Heads: store, Keys: known})
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
func auditKeysOf(ctx context.Context, store keys.Store) (audit.Keys, error) {
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
