// Command legacy-postgres is an ordinary MCP server in front of a PostgreSQL database, as
// there are many: it knows nothing of OAuth, of Wicketgate or of Vault. Over standard input
// and output it takes a DSN from its environment (DATABASE_URL); over HTTP it takes a user
// and a password from two headers of each request.
//
//	DATABASE_URL=postgres://app:secret@127.0.0.1/app legacy-postgres
//	legacy-postgres -listen 127.0.0.1:9000 -database 'host=127.0.0.1 dbname=app'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Headers of a request over HTTP.
const (
	headerUser     = "X-Db-User"
	headerPassword = "X-Db-Password"
)

// maxRows bounds an answer.
const maxRows = 1000

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "legacy-postgres:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("legacy-postgres", flag.ContinueOnError)
	listen := flags.String("listen", "", "speak HTTP on this address, at /mcp; empty: standard input and output")
	dsn := flags.String("database", "", "with -listen: where the database is, without user and password")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *listen == "" {
		return newServer(fromEnvironment).Run(ctx, &mcp.StdioTransport{})
	}
	server := newServer(fromHeaders(*dsn))
	mux := http.NewServeMux()
	mux.Handle("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
	return serve(ctx, &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second})
}

func serve(ctx context.Context, s *http.Server) error {
	ended := make(chan error, 1)
	go func() { ended <- s.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return s.Close()
	}
}

// configOf says who a call connects as.
type configOf func(*mcp.CallToolRequest) (*pgx.ConnConfig, error)

func fromEnvironment(*mcp.CallToolRequest) (*pgx.ConnConfig, error) {
	dsn := os.Getenv("DATABASE_URL")
	if dsn == "" {
		return nil, errors.New("DATABASE_URL is not set")
	}
	return pgx.ParseConfig(dsn)
}

func fromHeaders(dsn string) configOf {
	return func(r *mcp.CallToolRequest) (*pgx.ConnConfig, error) {
		cfg, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		if r.Extra == nil || r.Extra.Header.Get(headerUser) == "" {
			return nil, fmt.Errorf("%s and %s are needed", headerUser, headerPassword)
		}
		cfg.User, cfg.Password = r.Extra.Header.Get(headerUser), r.Extra.Header.Get(headerPassword)
		return cfg, nil
	}
}

type queryArguments struct {
	SQL string `json:"sql" jsonschema:"One statement."`
}

type queryResult struct {
	User    string           `json:"user" jsonschema:"Whom the database takes the caller for."`
	Columns []string         `json:"columns"`
	Rows    []map[string]any `json:"rows"`
}

func newServer(who configOf) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "legacy-postgres", Version: "1.0.0"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "query", Description: "Run one SQL statement and return its rows."},
		func(ctx context.Context, r *mcp.CallToolRequest, in queryArguments) (*mcp.CallToolResult, queryResult, error) {
			cfg, err := who(r)
			if err != nil {
				return nil, queryResult{}, err
			}
			out, err := query(ctx, cfg, in.SQL)
			return nil, out, err
		})
	return s
}

// query runs one statement on a connection of its own.
func query(ctx context.Context, cfg *pgx.ConnConfig, sql string) (queryResult, error) {
	out := queryResult{Columns: []string{}, Rows: []map[string]any{}}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return out, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := conn.QueryRow(ctx, "SELECT current_user").Scan(&out.User); err != nil {
		return out, err
	}
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return out, err
	}
	defer rows.Close()
	for _, f := range rows.FieldDescriptions() {
		out.Columns = append(out.Columns, f.Name)
	}
	for rows.Next() && len(out.Rows) < maxRows {
		row, err := pgx.RowToMap(rows)
		if err != nil {
			return out, err
		}
		out.Rows = append(out.Rows, row)
	}
	return out, rows.Err()
}
