package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/wicketgate/wicketgate/authz"
)

// RunsOn is the rule by which Open judges a schema; there are not yet enough of
// them to try it on.
var RunsOn = runsOn

// MigrateTo makes a schema that the program was once of.
func MigrateTo(ctx context.Context, url string, version int64) error {
	c, err := parse(url)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*c.ConnConfig)
	defer db.Close()
	p, err := provider(db)
	if err == nil {
		_, err = p.UpTo(ctx, version)
	}
	return err
}

// CheckURL is what Open does with a URL before it connects.
func CheckURL(url string) error {
	_, err := parse(url)
	return err
}

// ExecMode is how the store sends its statements.
func (s *Store) ExecMode() string { return s.pool.Config().ConnConfig.DefaultQueryExecMode.String() }

// Missed is what TakeTicket asks when it has taken nothing.
func (s *Store) Missed(ctx context.Context, kind authz.TicketKind, key []byte, now time.Time) error {
	return s.missed(ctx, kind, key, now)
}
