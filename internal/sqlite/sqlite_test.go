package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/storetest"
)

var at = time.Date(2026, 10, 7, 9, 30, 0, 0, time.UTC)

func TestStore(t *testing.T) { storetest.Run(t, stores(t, newest(t), 0)) }

func newest(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "wicketgate.db")
	if err := sqlite.Migrate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// stores gives every test a copy of the database: to migrate one takes longer than
// most tests do.
func stores(t *testing.T, database string, rounds int) func(t *testing.T) storetest.Stores {
	return func(t *testing.T) storetest.Stores {
		path := filepath.Join(t.TempDir(), "wicketgate.db")
		copyFile(t, database, path)
		again := func(t *testing.T) storetest.Store { return openAsIs(t, path) }
		return storetest.Stores{Store: again(t), Open: again, Rounds: rounds}
	}
}

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func insertClient(t testing.TB, s *sqlite.Store, id string) authz.Client {
	t.Helper()
	c := authz.Client{ID: identity.MustClientID(id), Name: "a client", RedirectURIs: []string{"http://127.0.0.1/callback"},
		GrantTypes: []string{"authorization_code", "refresh_token"}, AuthMethod: "none", Scope: []string{"mcp:tools"}, Created: at}
	if err := s.InsertClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func insertCode(t testing.TB, s *sqlite.Store, name string) (hash []byte) {
	t.Helper()
	subject, err := identity.ParseSubject("alice")
	if err != nil {
		t.Fatal(err)
	}
	hash = fmt.Appendf(nil, "%-32s", name)
	a := authz.Authorization{ID: name, ClientID: identity.MustClientID("c1"), Subject: subject, Expires: at.Add(time.Hour)}
	if err := s.InsertCode(t.Context(), a, authz.Code{Hash: hash, Expires: at.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestOthersCannotReadTheDatabase(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	insertClient(t, open(t, filepath.Join(dir, "wicketgate.db")), "c1")
	for _, name := range []string{"wicketgate.db", "wicketgate.db-wal", "wicketgate.db-shm"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, got)
		}
	}
}

func TestOpenKeepsTheModeOfAnExistingDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode = %v, %v, want 0640", info.Mode(), err)
	}
}

func TestPathCannotBecomeAnOption(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a?mode=memory&_pragma=query_only(1)#%41 é.db")
	insertClient(t, open(t, path), "c1")
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if _, err := open(t, path).Client(t.Context(), identity.MustClientID("c1")); err != nil {
		t.Error(err)
	}
}

// makeOther makes a database of another program and returns its bytes.
func makeOther(t *testing.T, path string, statements ...string) []byte {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return readFile(t, path)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpenRefusesAFileThatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database at all\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	tables := filepath.Join(dir, "tables.db")
	makeOther(t, tables, "CREATE TABLE clients (id TEXT)", "INSERT INTO clients (id) VALUES ('theirs')")
	marked := filepath.Join(dir, "marked.db")
	makeOther(t, marked, "PRAGMA application_id = 252006673")
	for _, path := range []string{text, tables, marked} {
		before := readFile(t, path)
		_, err := sqlite.Open(t.Context(), path)
		if !errors.Is(err, sqlite.ErrForeign) || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%s) = %v, want ErrForeign with the path", path, err)
		}
		if _, err := sqlite.OpenReadOnly(t.Context(), path); !errors.Is(err, sqlite.ErrForeign) {
			t.Errorf("OpenReadOnly(%s) = %v, want ErrForeign", path, err)
		}
		if string(readFile(t, path)) != string(before) {
			t.Errorf("Open changed %s", path)
		}
	}
}

func TestOpenRefusesADatabaseOfANewerProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	makeOther(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	_, err := sqlite.Open(t.Context(), path)
	if !errors.Is(err, sqlite.ErrSchema) || !strings.Contains(err.Error(), "9999") {
		t.Errorf("Open = %v, want ErrSchema with the version", err)
	}
}

func TestOpenOfWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := sqlite.Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Open of a directory = %v", err)
	}
	if _, err := sqlite.Open(t.Context(), filepath.Join(dir, "none", "x.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open in no directory = %v, want ErrNotExist", err)
	}
	if _, err := sqlite.Open(t.Context(), ""); err == nil {
		t.Error("Open of no path = nil, want an error")
	}
	if _, err := sqlite.OpenReadOnly(t.Context(), filepath.Join(dir, "x.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenReadOnly of no file = %v, want ErrNotExist", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestMigrationsAreIdempotent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	var schemas []string
	for range 3 {
		if err := open(t, path).Close(); err != nil {
			t.Fatal(err)
		}
		schemas = append(schemas, dump(t, path))
	}
	if schemas[0] != schemas[1] || schemas[1] != schemas[2] {
		t.Errorf("the schema changed:\n%s", strings.Join(schemas, "\n"))
	}
}

// dump is the schema with the versions that were applied.
func dump(t *testing.T, path string) (text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.QueryRowContext(t.Context(), `SELECT (SELECT group_concat(sql, char(10) ORDER BY name) FROM sqlite_schema) ||
		(SELECT group_concat(version_id || ' ' || is_applied, ', ' ORDER BY id) FROM goose_db_version)`).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEveryTableIsStrict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	open(t, path)
	for _, table := range strings.Split(dump(t, path), "CREATE TABLE ")[1:] {
		if name, _, _ := strings.Cut(table, " "); !strings.Contains(table, "STRICT") && name != "goose_db_version" && !strings.HasPrefix(name, "sqlite_") {
			t.Errorf("table %s is not STRICT", name)
		}
	}
}

// TestParallelFirstOpens is what several processes do when a machine starts.
func TestParallelFirstOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.InsertClient(t.Context(), authz.Client{ID: identity.MustClientID(fmt.Sprint(i)), AuthMethod: "none"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

const codesPerProcess = 50

// TestMain runs as the other process of TestTwoProcessesRedeemEachCodeOnce too.
func TestMain(m *testing.M) {
	if path := os.Getenv("WICKETGATE_TEST_REDEEM"); path != "" {
		if err := redeemAll(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// redeemAll prints how many codes this process was the first to redeem.
func redeemAll(path string) error {
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return err
	}
	defer s.Close()
	won := 0
	for i := range codesPerProcess {
		err := s.RedeemCode(context.Background(), fmt.Appendf(nil, "%-32s", fmt.Sprint("code", i)), at)
		if err == nil {
			won++
		} else if !errors.Is(err, authz.ErrSpent) {
			return err
		}
	}
	fmt.Println(won)
	return nil
}

func TestTwoProcessesRedeemEachCodeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	s := open(t, path)
	for i := range codesPerProcess {
		insertCode(t, s, fmt.Sprint("code", i))
	}
	total := make([]int, 3)
	var wg sync.WaitGroup
	for i := range total {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "WICKETGATE_TEST_REDEEM="+path)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Error(err)
			}
			total[i], _ = strconv.Atoi(strings.TrimSpace(string(out)))
		})
	}
	wg.Wait()
	if sum := total[0] + total[1] + total[2]; sum != codesPerProcess {
		t.Errorf("the processes redeemed %v, want %d together", total, codesPerProcess)
	}
}

func TestDeleteExpiredIsBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "wicketgate.db"))
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		for i := range 1500 {
			a := authz.Authorization{ID: fmt.Sprint(i), ClientID: identity.MustClientID("c1"), Expires: at}
			if err := s.InsertCode(ctx, a, authz.Code{Hash: fmt.Append(nil, i), Expires: at}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{2000, 1000, 0} {
		if n, err := s.DeleteExpired(t.Context(), at.Add(48*time.Hour)); err != nil || n != want {
			t.Errorf("DeleteExpired = %d, %v, want %d", n, err, want)
		}
	}
}
