package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Errors of all that opens a database. A program runs on its own schema version and
// on the one before.
var (
	ErrForeign = errors.New("the file is not a Wicketgate database")
	ErrSchema  = errors.New("the database has another schema version than this program")
)

// applicationID marks our files ("WIKG") in the SQLite header, so that a wrong
// path in a configuration never writes into somebody else's database.
const applicationID = 0x57494b47

// access is how a connection may use the file.
type access int

const (
	reading access = iota
	writing
	readOnly
	atRest // readOnly, and nobody has it open
)

// dsn names the file for the driver. The path is escaped, so that none of its
// characters becomes an option.
func dsn(path string, a access) string {
	q := url.Values{"_pragma": {"busy_timeout(10000)", "foreign_keys(1)", "synchronous(FULL)"}}
	switch a {
	case writing:
		q.Set("_txlock", "immediate") // a transaction that reads first cannot lose its right to write later
	case atRest:
		q.Set("immutable", "1") // or SQLite makes a -wal and a -shm, and leaves them
		fallthrough
	case readOnly:
		q.Set("mode", "ro")
		fallthrough
	default:
		q.Add("_pragma", "query_only(1)")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path // relative to a working directory that is gone: opening it fails
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: q.Encode()}).String()
}

// create makes the file before SQLite does, because SQLite asks the umask and
// gives its -wal and -shm the mode of the file. A file that is there is not even
// opened: closing it would drop the locks that this process holds on it
// (sqlite.org/howtocorrupt.html §2.2).
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return exists(path)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// restOf finds the file itself and whether it is at rest: then it has no -wal.
func restOf(path string) (string, access, error) {
	if err := exists(path); err != nil {
		return "", 0, err
	}
	file, err := filepath.EvalSymlinks(path) // SQLite keeps the -wal beside the file
	if err != nil {
		return "", 0, err
	}
	if _, err := os.Stat(file + "-wal"); errors.Is(err, fs.ErrNotExist) {
		return file, atRest, nil
	}
	return file, readOnly, nil
}

func exists(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return err
}

// claim makes sure that the database is ours, or empty and now ours, before
// anything in it changes.
func claim(ctx context.Context, db *sql.DB) error {
	id, tables, err := inspect(ctx, db)
	switch {
	case err != nil:
		return err
	case id == 0 && tables == 0:
		if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
			return fmt.Errorf("mark database: %w", err)
		}
	case id != applicationID:
		return ErrForeign
	}
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return fmt.Errorf("set journal mode: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("set journal mode: this file system gives %q instead of wal", mode)
	}
	return nil
}

// inspect reads both in one statement: another process may be making the database now.
func inspect(ctx context.Context, db *sql.DB) (id, tables int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT count(*) FROM sqlite_schema)`).Scan(&id, &tables)
	var e *modernc.Error
	if errors.As(err, &e) && e.Code() == sqlite3.SQLITE_NOTADB {
		return 0, 0, ErrForeign
	}
	if err != nil {
		return 0, 0, fmt.Errorf("inspect database: %w", err)
	}
	return id, tables, nil
}
