package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/keys"
)

// rewrapFlags say from where, or to where, if not from and to what is configured.
type rewrapFlags struct {
	whereFlags
	from, to string // files with key-encryption keys
}

func keysRewrapCommand() *cobra.Command {
	var f rewrapFlags
	c := &cobra.Command{
		Use:   "rewrap",
		Short: "Wrap the stored keys anew, or move them to another key-encryption key",
		Long: `Wraps each stored key anew, with what the configuration says: with keys.transit by the
newest version of the key in Vault, so that older ones may be retired there. No key
changes, and no token becomes invalid.

With --from the keys that FILE opens are moved to what the configuration says, and
with --to from there into FILE, which is made if it is not there; configure it then.
To move to Vault: configure keys.transit, rewrap --from kek, restart. Processes that
run go on with what they have in memory, and follow no rotation until they are
restarted with the new configuration.

What ends in the middle is done again; a key that does not open stops it before
anything is changed. Who did it is in the audit log: that of this folder, or those of
the processes that run.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := f.house(c.Context())
			if err != nil {
				return err
			}
			return rewrapKeys(c.Context(), h, f, c.OutOrStdout())
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.from, "from", "", "`file` with the key-encryption key that the keys are wrapped with now")
	c.Flags().StringVar(&f.to, "to", "", "`file` with the key-encryption key that they shall be wrapped with")
	c.MarkFlagsMutuallyExclusive("from", "to")
	return c
}

// wrappers are what the flags mean. From is nil where nothing is moved.
func (f rewrapFlags) wrappers(configured keys.Wrapper) (from, to keys.Wrapper, err error) {
	switch {
	case f.from != "":
		if _, err := os.Stat(f.from); err != nil { // LoadKEK would make it
			return nil, nil, fmt.Errorf("--from: %w", err)
		}
		from, err = keys.LoadKEK(f.from)
		return from, configured, err
	case f.to != "":
		to, err = keys.LoadKEK(f.to)
		return configured, to, err
	}
	return nil, configured, nil
}

func rewrapKeys(ctx context.Context, h houseConfig, f rewrapFlags, stdout io.Writer) (err error) {
	records, err := storedKeys(ctx, h)
	if err != nil {
		return err
	}
	if err := separateRoles(records, h); err != nil {
		return err
	}
	by, err := user.Current()
	if err != nil {
		return fmt.Errorf("find out who you are, for the audit log: %w", err)
	}
	o, err := openKeys(ctx, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	from, to, err := f.wrappers(o.configured)
	if err != nil {
		return err
	}
	c := ringConfig(h, o.store, to)
	c.Former = from
	record, err := o.rewrapLog(ctx, h, c)
	if err != nil {
		return err
	}
	return keys.Rewrap(ctx, keys.Rewrapping{Store: o.store, From: from, To: to, Operator: strings.ToValidUTF8(by.Username, "\ufffd"), Record: record,
		Done: func(r keys.Record) { fmt.Fprintf(stdout, "%s: wrapped by %s now\n", r.KeyID, r.WrappedBy()) }})
}

// rewrapLog writes into the audit log of this folder what is done to the keys. It is nil
// while a process has the log: that one notices, and writes it.
func (o *keysHouse) rewrapLog(ctx context.Context, h houseConfig, c keys.Config) (func(context.Context, keys.Record, keys.Record) error, error) {
	ring, err := keys.New(ctx, c)
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(ctx, audit.Config{Path: h.Audit, Name: h.AuditName, Sync: h.AuditSync, Signer: ring.AuditSigner(), Heads: o.store, Now: time.Now})
	if errors.Is(err, audit.ErrInUse) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o.closers = append(o.closers, log.Close)
	return func(ctx context.Context, before, after keys.Record) error {
		return log.Record(ctx, rewrapEvent(before, after))
	}, nil
}

// rewrapEvent is the line about a key that was wrapped anew.
func rewrapEvent(before, after keys.Record) audit.Event {
	return audit.Event{Kind: audit.Key, Action: "rewrap", Decision: audit.Allow, Operator: after.Rewrapper(),
		Reason: fmt.Sprintf("%s: from %s to %s", after.KeyID, before.WrappedBy(), after.WrappedBy())}
}
