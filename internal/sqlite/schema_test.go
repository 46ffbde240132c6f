package sqlite_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/storetest"
)

// TestStoreOnTheSchemaBefore is a program that was replaced before its database
// was migrated.
func TestStoreOnTheSchemaBefore(t *testing.T) { storetest.RunBefore(t, stores(t, before(t), 100)) }

// before is a database with the schema of one migration less.
func before(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "wicketgate.db")
	_, want := status(t, path)
	if err := sqlite.MigrateTo(t.Context(), path, want-1); err != nil {
		t.Fatal(err)
	}
	return path
}

func status(t *testing.T, path string) (have, want int64) {
	t.Helper()
	have, want, err := sqlite.Status(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return have, want
}

func openAsIs(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.OpenAsIs(t.Context(), path)
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

func TestProgramRunsOnItsSchemaAndTheOneBefore(t *testing.T) {
	for _, test := range []struct {
		have, want int64
		ok         bool
	}{{0, 1, false}, {1, 1, true}, {2, 1, false}, {3, 5, false}, {4, 5, true}, {5, 5, true}, {6, 5, false}} {
		err := sqlite.RunsOn(test.have, test.want)
		if (err == nil) != test.ok || err != nil && !errors.Is(err, sqlite.ErrSchema) {
			t.Errorf("a program of schema %d on %d: %v", test.want, test.have, err)
		}
	}
}

func TestStatusAndMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	have, want := status(t, path)
	if have != 0 || want < 2 {
		t.Errorf("Status of no file = %d, %d", have, want)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Status made the file: %v", err)
	}
	if err := sqlite.MigrateTo(t.Context(), path, want-1); err != nil {
		t.Fatal(err)
	}
	for _, version := range []int64{want - 1, want, want} {
		if have, _ := status(t, path); have != version {
			t.Errorf("Status = %d, want %d", have, version)
		}
		if err := sqlite.Migrate(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStatusOfARunningServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wicketgate.db")
	open(t, path)
	if have, want := status(t, path); have != want {
		t.Errorf("Status = %d, %d", have, want)
	}
}

func TestStatusOfAFileThatIsNotOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	makeOther(t, path, "CREATE TABLE clients (id TEXT)")
	before := readFile(t, path)
	if _, _, err := sqlite.Status(t.Context(), path); !errors.Is(err, sqlite.ErrForeign) {
		t.Errorf("Status = %v, want ErrForeign", err)
	}
	if _, err := sqlite.OpenAsIs(t.Context(), path); !errors.Is(err, sqlite.ErrForeign) {
		t.Errorf("OpenAsIs = %v, want ErrForeign", err)
	}
	if string(readFile(t, path)) != string(before) {
		t.Error("the file changed")
	}
}

func TestOpenAsIsDoesNotMigrate(t *testing.T) {
	path := before(t)
	have, want := status(t, path)
	insertClient(t, openAsIs(t, path), "c1")
	if _, err := openReadOnly(t, path).Client(t.Context(), identity.MustClientID("c1")); err != nil {
		t.Errorf("read only: %v", err)
	}
	if now, _ := status(t, path); now != have || now == want {
		t.Errorf("Status = %d, want %d still", now, have)
	}
}

// TestMigrationUnderARunningServer: the statements that it keeps compiled stay good.
func TestMigrationUnderARunningServer(t *testing.T) {
	path := before(t)
	s := openAsIs(t, path)
	for i := range 2 {
		c := insertClient(t, s, fmt.Sprint("c", i))
		if _, err := s.Client(t.Context(), c.ID); err != nil {
			t.Error(err)
		}
		if err := s.RedeemCode(t.Context(), insertCode(t, s, fmt.Sprint("code", i)), at); err != nil {
			t.Error(err)
		}
		if err := sqlite.Migrate(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	if have, want := status(t, path); have != want {
		t.Errorf("Status = %d, want %d", have, want)
	}
}

func TestOpenAsIsOfWhatCannotBeRunOn(t *testing.T) {
	dir := t.TempDir()
	if _, err := sqlite.OpenAsIs(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenAsIs of no file = %v, want ErrNotExist", err)
	}
	empty := filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.OpenAsIs(t.Context(), empty); !errors.Is(err, sqlite.ErrSchema) || !strings.Contains(err.Error(), "migrate it first") {
		t.Errorf("OpenAsIs of an empty file = %v, want ErrSchema that says what to do", err)
	}
	if b := readFile(t, empty); len(b) != 0 {
		t.Error("OpenAsIs wrote to an empty file")
	}
	newer := filepath.Join(dir, "newer.db")
	if err := open(t, newer).Close(); err != nil {
		t.Fatal(err)
	}
	makeOther(t, newer, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	if _, err := sqlite.OpenAsIs(t.Context(), newer); !errors.Is(err, sqlite.ErrSchema) || !strings.Contains(err.Error(), "9999") {
		t.Errorf("OpenAsIs = %v, want ErrSchema with the version", err)
	}
}
