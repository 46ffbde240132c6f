package main

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/postgres"
	"github.com/wicketgate/wicketgate/migrations"
)

// withPostgres is the configuration of a replica.
func withPostgres(url, name string) string {
	return "store: {postgres: {url: \"" + url + "\"}}\naudit: {name: " + name + "}\n"
}

// migrateBehind makes a schema as the version before had it.
func migrateBehind(t *testing.T, url string) {
	t.Helper()
	_, want, err := postgres.Status(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	files, filesErr := migrations.Postgres()
	table, tableErr := database.NewStore(database.DialectPostgres, "wicketgate_migrations")
	p, err := goose.NewProvider("", db, files, goose.WithStore(table))
	if err := errors.Join(filesErr, tableErr, err); err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), want-1); err != nil {
		t.Fatal(err)
	}
}

// TestMigrateUnderLoad: two servers go on while the schema gets its newest version.
func TestMigrateUnderLoad(t *testing.T) {
	database := pgtest.Empty(t)
	migrateBehind(t, database)
	var loads []*load
	var config string
	for i := range 2 {
		w := newWorld(t, nil)
		w.write("kek", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n") // replicas share it
		config = w.config(withTLS + withAgent + "key_encryption_key: kek\n" + withPostgres(database, fmt.Sprint("replica-", i)))
		w.start(config)
		loads = append(loads, w.startLoad(2))
	}
	wicketgate := func(args ...string) string {
		var out strings.Builder
		if code := run(t.Context(), append(args, "--config", config), &out, &out); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, out.String())
		}
		return out.String()
	}
	if got := wicketgate("migrate", "status"); !strings.Contains(got, "one version behind, which this program runs on: wicketgate migrate up") {
		t.Errorf("before: %s", got)
	}
	if got := wicketgate("migrate", "up"); !strings.HasSuffix(got, ": up to date\n") {
		t.Errorf("migrate up: %s", got)
	}
	for i, l := range loads {
		l.more(20)
		if err := l.end(); err != nil {
			t.Errorf("a request to replica %d failed: %v", i, err)
		}
	}
	if got := wicketgate("migrate", "up"); !strings.HasSuffix(got, ": up to date\n") {
		t.Errorf("migrate up again: %s", got)
	}
}

func TestServeRefusesASchemaThatIsTooOld(t *testing.T) {
	w := newWorld(t, nil)
	config := w.config(withTLS + withAgent + withPostgres(pgtest.Empty(t), "replica-1"))
	var out strings.Builder
	if code := run(t.Context(), []string{"serve", "--config", config}, &out, &out); code != 1 || !strings.Contains(out.String(), "migrate it first") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	w.write("wicketgate.yaml", strings.Replace(readText(t, config), "postgres: {", "postgres: {migrate: true, ", 1))
	w.start(config)
	if raw, refused := w.accessToken(w.client()); raw == "" {
		t.Errorf("with migrate: true: %s", refused)
	}
}

// TestReadyzFailsWhilePostgreSQLIsDown, nothing is issued, and all comes back with it.
func TestReadyzFailsWhilePostgreSQLIsDown(t *testing.T) {
	w := newWorld(t, nil)
	line := newLine(t, pgtest.Migrated(t))
	w.start(w.config(withTLS + withAgent + withPostgres(line.url, "replica-1")))
	client := w.client()
	for range 2 {
		if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK {
			t.Fatalf("readyz: %d %s", status, body)
		}
		if raw, refused := w.accessToken(client); raw == "" {
			t.Fatal(refused)
		}
		line.cut()
		if status, body := w.get(w.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `{"name":"store","ok":false,"error":"`) {
			t.Errorf("readyz while it is down: %d %s", status, body)
		}
		if status, _ := w.get(w.admin + "/healthz"); status != http.StatusOK {
			t.Errorf("healthz while it is down: %d", status)
		}
		if raw, refused := w.accessToken(client); raw != "" || !strings.Contains(refused, "server_error") || strings.Contains(refused, "sql") {
			t.Errorf("while it is down: %q, %s", raw, refused)
		}
		line.mend()
	}
}

// closed is a listener that is none any more.
type closed struct{ net.Listener }

// line is a way to PostgreSQL that can be cut.
type line struct {
	t        *testing.T
	dir, url string
	to       string // socket of the server

	mu       sync.Mutex // guards what follows
	listener net.Listener
	open     []net.Conn
}

const pgSocket = ".s.PGSQL.5432"

func newLine(t *testing.T, database string) *line {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "line-") // whose name is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	l := &line{t: t, dir: dir, url: strings.Replace(database, u.Query().Get("host"), dir, 1), to: filepath.Join(u.Query().Get("host"), pgSocket)}
	t.Cleanup(func() { l.cut(); os.RemoveAll(dir) })
	l.mend()
	return l
}

func (l *line) mend() {
	l.t.Helper()
	listener, err := net.Listen("unix", filepath.Join(l.dir, pgSocket))
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			l.serve(listener, from)
		}
	}()
}

func (l *line) serve(by net.Listener, from net.Conn) {
	to, err := net.Dial("unix", l.to)
	if err != nil {
		from.Close()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open = append(l.open, from, to); l.listener != by {
		from.Close() // cut meanwhile
		to.Close()
	}
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
		}()
	}
}

// cut ends what is open, and lets nothing new through.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener.Close()
	for _, c := range l.open {
		c.Close()
	}
	l.listener, l.open = closed{l.listener}, nil
}
