package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/keys"
)

// keysReload is how often a process looks for what others did to the keys. It is
// much less than keys.Settle.
const keysReload = 5 * time.Second

func keysCommand() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "List, rotate and rewrap the signing and sealing keys, and print a client's public one"}
	c.AddCommand(keysListCommand(), keysRotateCommand(), keysRewrapCommand(), keysJWKSCommand())
	return c
}

func keysListCommand() *cobra.Command {
	var where whereFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the keys, without their secrets",
		Long: `Lists what the store has: next keys are published so that everybody knows them
before they are used; the current one signs or seals; what previous ones made is
still accepted; what retired ones made no longer is.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := where.house(c.Context())
			if err != nil {
				return err
			}
			return listKeys(c.Context(), h, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	where.register(c)
	return c
}

func keysRotateCommand() *cobra.Command {
	var where whereFlags
	var use string
	var force bool
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Put the next key of each use into the place of the current one",
		Long: `Puts the next key into the place of the current one, and makes a new next key. No
token becomes invalid: running processes follow within seconds, and what the old
key made is accepted until it has expired. Keys that become too old while in use
(90 days, or as ages.key_max says) are rotated without this command.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := where.house(c.Context())
			if err != nil {
				return err
			}
			uses, err := usesOf(use, h.Role)
			if err != nil {
				return err
			}
			return rotateKeys(c.Context(), h, uses, force, c.OutOrStdout())
		},
	}
	where.register(c)
	c.Flags().StringVar(&use, "use", "", "only keys of one `kind`: token, audit or session")
	c.Flags().BoolVar(&force, "force", false, "also when the next key is so new that verifiers may refuse its signatures for a minute")
	return c
}

func usesOf(flag string, r role) ([]keys.Use, error) {
	if flag == "" {
		return r.uses(), nil
	}
	for _, u := range r.uses() {
		if string(u) == flag {
			return []keys.Use{u}, nil
		}
	}
	if !r.issues() {
		return nil, fmt.Errorf("--use %q: want audit or session, a gateway alone signs no tokens", flag)
	}
	return nil, fmt.Errorf("--use %q: want token, audit or session", flag)
}

// ringConfig is the same for a process and for the commands beside it.
func ringConfig(h houseConfig, store keys.Store, w keys.Wrapper) keys.Config {
	remote, _ := w.(keys.Remote)
	return keys.Config{Remote: remote, Sign: remote != nil && h.Transit.Sign,
		Store: store, Uses: h.Role.uses(), Wrapper: w, Now: time.Now, Algorithm: h.Algorithm, Overlap: keys.DefaultOverlap,
		WarnAge: cmp.Or(h.Ages.KeyWarn, keys.DefaultWarnAge), MaxAge: cmp.Or(h.Ages.KeyMax, keys.DefaultMaxAge)}
}

// storedKeys reads the keys without a change to anything.
func storedKeys(ctx context.Context, h houseConfig) (_ []keys.Record, err error) {
	store, err := openForReading(ctx, h.Store)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return store.Keys(ctx)
}

func listKeys(ctx context.Context, h houseConfig, stdout, stderr io.Writer) error {
	records, err := storedKeys(ctx, h)
	if err != nil {
		return err
	}
	cfg, now := ringConfig(h, nil, nil), time.Now()
	all := keys.Statuses(records, cfg.Overlap, now)
	for _, k := range all {
		if k.State == keys.Current && k.Age(now) >= cfg.WarnAge {
			fmt.Fprintf(stderr, "note: the %s key has been in use for %s: wicketgate keys rotate --use %s\n", k.Use, spell(k.Age(now)), k.Use)
		}
	}
	return writeKeys(stdout, all, now)
}

func writeKeys(w io.Writer, all []keys.Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tUSE\tALGORITHM\tSTATE\tAGE\tCREATED\tACTIVATED\tACCEPTED UNTIL\tWRAPPED BY")
	for _, k := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.KeyID, k.Use, k.Algorithm, k.State, spell(k.Age(now)), date(k.Created), date(k.Activated), date(k.Until), k.WrappedBy())
	}
	return t.Flush()
}

func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// spell writes an age in days, or more finely where it is less than two.
func spell(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return max(d, 0).Truncate(time.Second).String()
}

// rotateKeys makes neither a store nor a key-encryption key where there is none, and no
// key to sign tokens with where there is a gateway alone.
func rotateKeys(ctx context.Context, h houseConfig, uses []keys.Use, force bool, stdout io.Writer) (err error) {
	records, err := storedKeys(ctx, h)
	if err != nil {
		return err
	}
	if err := separateRoles(records, h); err != nil {
		return err
	}
	o, err := openKeys(ctx, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	ring, err := keys.New(ctx, ringConfig(h, o.store, o.configured))
	if err != nil {
		return err
	}
	var errs []error
	for _, u := range uses {
		errs = append(errs, rotate(ctx, ring, u, force, stdout))
	}
	return errors.Join(errs...)
}

func rotate(ctx context.Context, ring *keys.Ring, u keys.Use, force bool, stdout io.Writer) error {
	err := ring.Rotate(ctx, u, force)
	switch {
	case errors.Is(err, keys.ErrTooSoon):
		return fmt.Errorf("%s key is not rotated: %w, or --force", u, err)
	case err != nil:
		return fmt.Errorf("rotate %s key: %w", u, err)
	}
	for _, a := range ring.Ages() {
		if a.Use == u {
			fmt.Fprintf(stdout, "%s: %s is in use now\n", u, a.KeyID)
		}
	}
	return nil
}

// reloadKeys follows what is done to the keys. It says who signs now, and once a
// day which key is old.
func reloadKeys(ring *keys.Ring, log *slog.Logger) func(context.Context) error {
	known, warned := map[keys.Use]string{}, map[string]time.Duration{}
	for _, a := range ring.Ages() {
		known[a.Use] = a.KeyID
	}
	return func(ctx context.Context) error {
		err := ring.Reload(ctx)
		for _, a := range ring.Ages() {
			if known[a.Use] != a.KeyID {
				log.Info("key rotated", "use", a.Use, "key", a.KeyID, "before", known[a.Use])
				known[a.Use] = a.KeyID
			}
			if last, ok := warned[a.KeyID]; a.Old && (!ok || a.Age-last >= 24*time.Hour) {
				log.Warn("key is old: run wicketgate keys rotate", "use", a.Use, "key", a.KeyID, "age", spell(a.Age))
				warned[a.KeyID] = a.Age
			}
		}
		return err
	}
}

// watchKeys adds how old the keys are.
func (m *metrics) watchKeys(ring *keys.Ring) {
	for i, a := range ring.Ages() {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wicketgate_key_age_seconds",
			Help: "How long the current key of a use has been in use.", ConstLabels: prometheus.Labels{"use": string(a.Use)}},
			func() float64 { return ring.Ages()[i].Age.Seconds() }))
	}
}
