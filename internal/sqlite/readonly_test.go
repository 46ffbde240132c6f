package sqlite_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/sqlite"
)

func openReadOnly(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.WriteFile(to, readFile(t, from), 0o600); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestReadOnlyReadsWhatARunningServerHasWritten(t *testing.T) {
	path, link := filepath.Join(t.TempDir(), "wicketgate.db"), filepath.Join(t.TempDir(), "link.db")
	server := open(t, path)
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	before := insertClient(t, server, "before")
	s := openReadOnly(t, link)
	after := insertClient(t, server, "after")
	for _, c := range []identity.ClientID{before.ID, after.ID} {
		if _, err := s.Client(t.Context(), c); err != nil {
			t.Errorf("client %s: %v", c, err)
		}
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wicketgate.db")
	server := open(t, path)
	c := insertClient(t, server, "c1")
	hash := insertCode(t, server, "code")
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	before := readFile(t, path)
	s := openReadOnly(t, path)
	if err := s.RedeemCode(t.Context(), hash, at); err == nil {
		t.Error("RedeemCode = nil, want an error")
	}
	c.Static = true
	if err := s.PutClient(t.Context(), c); err == nil {
		t.Error("PutClient = nil, want an error")
	}
	if _, err := s.Client(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if string(readFile(t, path)) != string(before) {
		t.Error("the file changed")
	}
	if names := list(t, dir); !slices.Equal(names, []string{"wicketgate.db"}) {
		t.Errorf("files = %v, want only the database", names)
	}
}

// TestReadOnlyAfterACrash reads what is only in the WAL, as after a kill -9, and
// leaves both files as they are found.
func TestReadOnlyAfterACrash(t *testing.T) {
	path, crashed := filepath.Join(t.TempDir(), "wicketgate.db"), filepath.Join(t.TempDir(), "crashed.db")
	c := insertClient(t, open(t, path), "c1")
	copyFile(t, path, crashed)
	copyFile(t, path+"-wal", crashed+"-wal")
	s := openReadOnly(t, crashed)
	if _, err := s.Client(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if string(readFile(t, crashed)) != string(readFile(t, path)) || string(readFile(t, crashed+"-wal")) != string(readFile(t, path+"-wal")) {
		t.Error("the files changed")
	}
	if _, err := open(t, crashed).Client(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
}
