package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/postgres"
	"github.com/wicketgate/wicketgate/internal/sqlite"
)

func migrateCommand() *cobra.Command {
	c := &cobra.Command{Use: "migrate", Short: "Bring the store's schema up to date, or say how it stands"}
	c.AddCommand(migrateUpCommand(), migrateStatusCommand())
	return c
}

func migrateUpCommand() *cobra.Command {
	var where whereFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Bring the schema up to date",
		Long: `Applies the migrations that the store lacks, in their order; there is no way back.
Servers may go on: each version of Wicketgate runs on its own schema and on the one
before. Migrate first, then replace the servers. Any number of these may run at the
same time: one migrates, the others wait.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := where.house(c.Context())
			if err != nil {
				return err
			}
			if err := migrate(c.Context(), h.Store); err != nil {
				return err
			}
			return schemaStatus(c.Context(), h.Store, c.OutOrStdout())
		},
	}
	where.register(c)
	return c
}

func migrateStatusCommand() *cobra.Command {
	var where whereFlags
	c := &cobra.Command{
		Use:   "status",
		Short: "Say which schema version the store has, and which this program wants",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := where.house(c.Context())
			if err != nil {
				return err
			}
			return schemaStatus(c.Context(), h.Store, c.OutOrStdout())
		},
	}
	where.register(c)
	return c
}

func migrate(ctx context.Context, cfg storeConfig) error {
	if cfg.Postgres != nil {
		return postgres.Migrate(ctx, cfg.Postgres.URL)
	}
	return sqlite.Migrate(ctx, cfg.SQLite)
}

func schemaStatus(ctx context.Context, cfg storeConfig, stdout io.Writer) (err error) {
	var have, want int64
	if cfg.Postgres != nil {
		have, want, err = postgres.Status(ctx, cfg.Postgres.URL)
	} else {
		have, want, err = sqlite.Status(ctx, cfg.SQLite)
	}
	if err != nil {
		return err
	}
	state := "up to date"
	switch {
	case have > want:
		state = "of a newer program: this one does not run on it"
	case have == 0:
		state = "there is none yet: wicketgate migrate up"
	case have < want-1:
		state = "too old for this program: wicketgate migrate up"
	case have < want:
		state = "one version behind, which this program runs on: wicketgate migrate up"
	}
	_, err = fmt.Fprintf(stdout, "schema %d of %d: %s\n", have, want, state)
	return err
}
