package postgres

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrPlaintext is returned for a URL that would silently do without TLS over a
// network when the server, or somebody between, says that it has none.
var ErrPlaintext = errors.New("sslmode is missing, prefer or allow: " +
	"say sslmode=verify-full, or sslmode=disable on a network that nobody else is on")

const (
	connectTimeout = 5 * time.Second // unless the URL has connect_timeout
	// execModeOption of the URL overrides what Open finds out about statements.
	execModeOption = "default_query_exec_mode"
)

func parse(url string) (*pgxpool.Config, error) {
	if strings.TrimSpace(url) == "" {
		return nil, errors.New("parse database URL: it is empty")
	}
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("parse database URL: %w", err) // without the password
	}
	if !strings.Contains(url, execModeOption) {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // needs nothing of a session
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	if opportunistic(&c.ConnConfig.Config) {
		return nil, fmt.Errorf("parse database URL: %w", ErrPlaintext)
	}
	return c, nil
}

// opportunistic reports whether some host that is not this machine may be talked
// to with or without TLS, whichever works.
func opportunistic(c *pgconn.Config) bool {
	plain, secured := map[string]bool{}, map[string]bool{}
	note := func(host string, tls bool) {
		if local(host) {
			return
		}
		if tls {
			secured[host] = true
		} else {
			plain[host] = true
		}
	}
	note(c.Host, c.TLSConfig != nil)
	for _, f := range c.Fallbacks {
		note(f.Host, f.TLSConfig != nil)
	}
	for host := range plain {
		if secured[host] {
			return true
		}
	}
	return false
}

func local(host string) bool {
	if network, _ := pgconn.NetworkAddress(host, 0); network == "unix" || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
