package sqlite

import (
	"context"
	"database/sql"
)

// RunsOn is the rule by which a schema is judged; there are not yet enough of them
// to try it on.
var RunsOn = runsOn

// MigrateTo makes a database with a schema that the program was once of.
func MigrateTo(ctx context.Context, path string, version int64) error {
	if err := create(path); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(path, writing))
	if err != nil {
		return err
	}
	defer db.Close()
	if err := claim(ctx, db); err != nil {
		return err
	}
	p, err := provider(db)
	if err == nil {
		_, err = p.UpTo(ctx, version)
	}
	return err
}
