package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

func clientsCommand() *cobra.Command {
	c := &cobra.Command{Use: "clients", Short: "List clients, and rotate their secrets"}
	c.AddCommand(clientsListCommand(), clientsRotateCommand())
	return c
}

func clientsListCommand() *cobra.Command {
	var where whereFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the clients that are registered or configured, and the age of their secrets",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := where.issuer(c.Context())
			if err != nil {
				return err
			}
			return listClients(c.Context(), h, c.OutOrStdout(), time.Now())
		},
	}
	where.register(c)
	return c
}

func listClients(ctx context.Context, h houseConfig, stdout io.Writer, now time.Time) (err error) {
	store, err := openForReading(ctx, h.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	all, err := store.AllClients(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CLIENT\tNAME\tFROM\tAUTHENTICATION\tCREATED\tFIRST USED\tSECRET")
	for _, c := range all {
		from, used := "registration", "never"
		if c.Static {
			from, used = "configuration", "-" // what workloads do is not noted
		}
		if !c.Used.IsZero() {
			used = c.Used.Format(time.DateOnly)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, shownName(c.Name), from, c.AuthMethod, c.Created.Format(time.DateOnly), used, secretState(c, h.Ages, now))
	}
	return t.Flush()
}

// shownName keeps what a client called itself from doing anything to a terminal.
func shownName(name string) string {
	if name == "" {
		return "-"
	}
	return fmt.Sprintf("%q", name)
}

// secretAge says how it stands with a client's secret: "" if it has none that ages.
func secretAge(c authz.Client, a ages, now time.Time) string {
	if c.AuthMethod != oauth.AuthBasic && c.AuthMethod != oauth.AuthPost || c.SecretCreated.IsZero() {
		return ""
	}
	age := now.Sub(c.SecretCreated)
	switch {
	case a.SecretMax > 0 && age >= a.SecretMax:
		return "refused"
	case a.SecretWarn > 0 && age >= a.SecretWarn:
		return "old"
	}
	return "good"
}

// secretState is the age of a client's secret and what is to be done about it.
func secretState(c authz.Client, a ages, now time.Time) string {
	days := fmt.Sprintf("%d days", int(now.Sub(c.SecretCreated).Hours()/24))
	switch secretAge(c, a, now) {
	case "":
		return "-"
	case "refused":
		return days + ": refused, rotate it"
	case "old":
		return days + ": rotate it"
	}
	return days
}

func clientsRotateCommand() *cobra.Command {
	var where whereFlags
	var overlap time.Duration
	c := &cobra.Command{
		Use:   "rotate CLIENT",
		Short: "Give a client that registered itself a new secret",
		Long: `Gives a client a new secret and prints it, once: it is not stored. The one before is
good for --overlap longer, so that the client can be changed at leisure. A client
that authenticates in another way has no secret. That of a configured client is in
the configuration: change it there.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := where.issuer(c.Context())
			if err != nil {
				return err
			}
			return rotateClient(c.Context(), h, args[0], overlap, c.OutOrStdout())
		},
	}
	where.register(c)
	c.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the secret before stays good; 0: not at all")
	c.Flags().Lookup("overlap").DefValue = "24h" // rather than 24h0m0s
	return c
}

func rotateClient(ctx context.Context, h houseConfig, name string, overlap time.Duration, stdout io.Writer) (err error) {
	id, err := identity.ParseClientID(name)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, h.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	c, err := store.Client(ctx, id)
	switch {
	case errors.Is(err, authz.ErrNotFound):
		return fmt.Errorf("there is no client %s: wicketgate clients list shows all", id)
	case err != nil:
		return err
	case c.Static:
		return fmt.Errorf("client %s is configured: put a new secret_sha256 or secret_file into the configuration, and start again", id)
	}
	now := time.Now()
	secret, err := c.RotateSecret(now, now.Add(overlap))
	if err != nil {
		return err
	}
	if err := store.ReplaceClient(ctx, c); err != nil {
		return err
	}
	fmt.Fprintln(stdout, secret)
	return nil
}

// warnOfAge logs and counts the secrets that are to be rotated, at the start and
// once a day.
func warnOfAge(h *house, cfg houseConfig) func(context.Context) error {
	return func(ctx context.Context) error {
		all, err := h.store.AllClients(ctx)
		if err != nil {
			return err
		}
		now, count := time.Now(), map[string]int{}
		for _, c := range all {
			age := secretAge(c, cfg.Ages, now)
			count[age]++
			if age == "old" || age == "refused" {
				cfg.Log.Warn("a client secret is old: rotate it", "client", c.ID.String(), "state", secretState(c, cfg.Ages, now))
			}
		}
		if cfg.Metrics != nil {
			for _, age := range []string{"good", "old", "refused"} {
				cfg.Metrics.secrets.WithLabelValues(age).Set(float64(count[age]))
			}
		}
		return nil
	}
}
