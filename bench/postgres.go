package main

import (
	"context"
	_ "embed" // for the script
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wicketgate/wicketgate/internal/postgres"
)

//go:embed postgres.sh
var postgresScript string

// postgresBinaries is the folder of the newest PostgreSQL, empty without one:
// Debian keeps it out of PATH.
func postgresBinaries() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

// startPostgres starts a server of our own. It has no port: its URL is the folder
// of its socket. The folder is not below ours, which its user could not enter.
func startPostgres(ctx context.Context, binaries string) (*process, error) {
	dir, err := os.MkdirTemp("", "wicketgate-bench-pg-")
	if err != nil {
		return nil, err
	}
	p := newProcess(namePostgres, "sh", "-c", postgresScript, "sh", binaries, dir)
	if p.lifeline, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p, err = p.start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if _, err := fmt.Sscanf(p.stdout.String(), "process %d", &p.postmaster); err != nil {
		p.stop()
		return nil, fmt.Errorf("PostgreSQL did not say which process it is: %w", err)
	}
	return p, nil
}

// postgresServer makes databases on a server.
type postgresServer struct {
	*process
	binaries string
}

// fill makes a database with so many grants, and returns how to reach it from
// here and from wicketgate.yaml.
func (s postgresServer) fill(ctx context.Context, name string, grants int) (grantStore, string, error) {
	if err := s.sql(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		return nil, "", err
	}
	url := "postgres://postgres@/" + name + "?host=" + s.url
	store, err := postgres.Open(ctx, postgres.Config{URL: url, Migrate: true})
	if err != nil {
		return nil, "", err
	}
	if err = postgres.Grow(ctx, store, grants); err == nil {
		// Without looking at foreign keys; and vacuumed as autovacuum would, but not
		// while we measure.
		err = errors.Join(s.sql(ctx, name, "SET session_replication_role = replica; "+everyCode),
			s.sql(ctx, name, "VACUUM (ANALYZE)"), s.sql(ctx, name, "CHECKPOINT"))
	}
	if err != nil {
		return nil, "", errors.Join(err, store.Close())
	}
	return store, fmt.Sprintf("store: {postgres: {url: %q}}\naudit: {name: bench}\n", url), nil
}

// sql asks psql, so that only package postgres has a driver.
func (s postgresServer) sql(ctx context.Context, database, statement string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(s.binaries, "psql"), "-X", "-q", "-h", s.url, "-U", "postgres", "-d", database, "-c", statement).CombinedOutput()
	if err != nil {
		return fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
