// Package pgtest gives tests a real PostgreSQL, 15 or newer: one server for a test binary,
// started when the first test asks and gone when the binary is, and a database
// for each test.
//
// Nothing that a test does survives it, so the server does not write to disk in
// earnest: it is NOT one to measure durability with. It listens on a Unix socket
// only, in a folder that is its user's.
package pgtest

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // for the scripts
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wicketgate/wicketgate/internal/postgres"

	"github.com/wicketgate/wicketgate/internal/needed"
)

//go:embed server.sh
var serverScript string

//go:embed bouncer.sh
var bouncerScript string

// errMissing is returned when a program is not installed.
var errMissing = errors.New("is not installed: run tools/postgres.sh")

// Empty makes an empty database for a test and returns its URL.
func Empty(t testing.TB) string {
	t.Helper()
	s := running(t, server)
	return s.create(t, "template0")
}

// Migrated makes a database with the newest schema for a test and returns its URL.
func Migrated(t testing.TB) string {
	t.Helper()
	s := running(t, server)
	if _, err := s.template(); err != nil {
		t.Fatal(err)
	}
	return s.create(t, templateName)
}

// Bounced returns the URL of the same database through a PgBouncer that pools
// transactions: no two transactions of a connection need to meet the same session.
func Bounced(t testing.TB, url string) string {
	t.Helper()
	return url + "&port=" + running(t, bouncer).port
}

// Query runs a statement in the database of the URL, as its administrator, and returns the
// rows: one a line, with columns apart by "|".
func Query(t testing.TB, url, statement string) string {
	t.Helper()
	s := running(t, server)
	out, err := exec.Command(s.psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement).CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

const templateName = "wicketgate_template"

// instance is a running server.
type instance struct {
	lifeline io.Closer // the script's stdin: unreferenced, it would be collected and closed
	psql     string
	dir      string
	template func() (struct{}, error) // makes the template, once
	count    atomic.Int64             // of databases
}

// proxy is a running PgBouncer.
type proxy struct {
	lifeline io.Closer // as of instance
	port     string
}

var (
	server  = sync.OnceValues(startServer)
	bouncer = sync.OnceValues(startBouncer)
)

// running starts what a test needs. What is missing is an error where the tests
// must be whole, and skips the test on a developer's quick run.
func running[T any](t testing.TB, start func() (T, error)) T {
	t.Helper()
	v, err := start()
	if errors.Is(err, errMissing) {
		needed.Missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func startServer() (*instance, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "wicketgate-pg-")
	if err != nil {
		return nil, err
	}
	if err := give(dir); err != nil {
		return nil, err
	}
	lifeline, err := start(serverScript, bin, dir)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	s := &instance{lifeline: lifeline, psql: filepath.Join(bin, "psql"), dir: dir}
	s.template = sync.OnceValues(func() (struct{}, error) {
		err := s.sql("CREATE DATABASE " + templateName + " TEMPLATE template0")
		if err == nil {
			err = postgres.Migrate(context.Background(), s.url(templateName))
		}
		return struct{}{}, err
	})
	return s, nil
}

func startBouncer() (*proxy, error) {
	s, err := server()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if path = "/usr/sbin/pgbouncer"; !exists(path) { // where a user's PATH does not look
			return nil, fmt.Errorf("PgBouncer %w", errMissing)
		}
	}
	lifeline, err := start(bouncerScript, path, s.dir)
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	return &proxy{lifeline: lifeline, port: "6432"}, nil
}

// binaries is the folder of the newest PostgreSQL: Debian keeps it out of PATH.
func binaries() (dir string, err error) {
	newest := 0.0
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	for _, path := range found {
		version, err := strconv.ParseFloat(filepath.Base(filepath.Dir(filepath.Dir(path))), 64)
		if err == nil && version > newest {
			newest, dir = version, filepath.Dir(path)
		}
	}
	if dir != "" || err != nil {
		return dir, err
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("PostgreSQL %w", errMissing)
	}
	return filepath.Dir(path), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// give hands the folder to the user that the server runs as: it refuses to be root.
func give(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("PostgreSQL's user %w", errMissing)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return errors.Join(err1, err2, os.Chown(dir, uid, gid))
}

// start runs a script until its lifeline is closed, at the latest when this
// process ends.
func start(script string, args ...string) (lifeline io.Closer, err error) {
	command := append([]string{"sh", "-c", script, "sh"}, args...)
	if os.Getuid() == 0 {
		command = append([]string{"setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		return nil, fmt.Errorf("%w: %s", cmd.Wait(), stderr.String())
	}
	return stdin, nil
}

// create makes a database and has it dropped at the end of the test, whoever is
// still connected to it.
func (s *instance) create(t testing.TB, template string) (url string) {
	t.Helper()
	name := fmt.Sprint("test", s.count.Add(1))
	// file_copy (of PostgreSQL 15) takes a quarter of the time while fsync is off.
	if err := s.sql("CREATE DATABASE " + name + " TEMPLATE " + template + " STRATEGY file_copy"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.sql("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return s.url(name)
}

func (s *instance) url(name string) string {
	return "postgres://postgres@/" + name + "?host=" + s.dir
}

// sql asks psql, so that only package postgres has a driver.
func (s *instance) sql(statement string) error {
	out, err := exec.Command(s.psql, "-X", "-q", "-h", s.dir, "-U", "postgres", "-d", "postgres", "-c", statement).CombinedOutput()
	if err != nil {
		return fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
