// Package postgres keeps what Wicketgate remembers in PostgreSQL, for any number
// of replicas: clients and their metadata documents, authorizations with their
// codes and refresh tokens, device codes, tickets, wrapped keys, pinned tool
// definitions and the heads of audit logs.
//
// Every state change is one conditional statement that says how many rows it
// changed, so READ COMMITTED is all that exactly-once needs. No session keeps any
// state beyond its transaction (statements are prepared only where Open has seen
// that nothing is in between), so PgBouncer may pool transactions.
//
// The package does NOT judge what it stores: expiry, revocation and reuse are
// returned as they are and left to the caller (only an expired ticket is as none),
// and the time is always passed in.
// It uses no advisory locks, no LISTEN/NOTIFY, no sequences and no triggers, reads
// from no standby, and encrypts nothing: private keys arrive wrapped, tokens as
// hashes. What it has confirmed is as durable as the server's fsync and
// synchronous_commit are.
package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Store is an open database. It is safe for concurrent use; a context that InTx
// passed on is for one goroutine at a time.
type Store struct {
	pool *pgxpool.Pool
}

// Config says how to reach the database.
type Config struct {
	// URL is a connection string of libpq, as a URL or as keywords; what it lacks
	// is taken from libpq's environment variables and password file.
	URL string
	// MaxConns bounds the connections of this process. Zero: the URL's
	// pool_max_conns, or else 4 or the number of CPUs, whichever is more.
	MaxConns int32
	// Migrate brings the schema up to date first, which needs the right to create
	// tables. Off, the store wants a schema that Migrate has made.
	Migrate bool
}

// Open connects to the database. It returns ErrSchema for a schema that this
// version of the program cannot run on, and ErrPlaintext.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	c, err := parse(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.MaxConns > 0 {
		c.MaxConns = cfg.MaxConns
	}
	if cfg.Migrate {
		if err := migrate(ctx, c.ConnConfig); err != nil {
			return nil, err
		}
	}
	if err := probe(ctx, c.ConnConfig, strings.Contains(cfg.URL, execModeOption)); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return &Store{pool}, nil
}

// probe checks the schema, and, unless the URL has chosen, keeps statements
// prepared (a look-up then takes a quarter of the time) where nothing pools the
// sessions in between: PgBouncer before 1.21 forgets them.
func probe(ctx context.Context, c *pgx.ConnConfig, chosen bool) error {
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkSchema(ctx, conn); err != nil {
		return err
	}
	direct, err := isDirect(ctx, conn)
	if err == nil && direct && !chosen {
		c.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
		// The server keeps their plans too: one made while a table was small must
		// not read all of it when it has grown.
		c.RuntimeParams["enable_seqscan"] = "off"
		// Where there is no index, that makes a plan look so costly that the server would
		// compile it, which takes longer than any of our statements.
		c.RuntimeParams["jit"] = "off"
	}
	return err
}

// isDirect compares the process that the server says serves the connection with
// the one that its greeting named: a pooler greets with a key of its own.
func isDirect(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return false, fmt.Errorf("ask for the server process: %w", err)
	}
	return pid == conn.PgConn().PID(), nil
}

// Ping reports whether the database answers. It only reads: that a server can be
// read but not written to is seen by what writes.
func (s *Store) Ping(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, "SELECT 1"); err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	return nil
}

// Close waits for what is under way and closes all connections. A second Close
// is no error.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}
