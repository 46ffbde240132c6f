// Package migrations is the SQL that makes and changes the tables, for the
// adapters to apply. It runs none of it.
//
// Migrations are numbered, only go forward, and never change after a release.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// SQLite returns the migrations of the SQLite store.
func SQLite() (fs.FS, error) { return fs.Sub(files, "sqlite") }

// Postgres returns the migrations of the PostgreSQL store.
func Postgres() (fs.FS, error) { return fs.Sub(files, "postgres") }
