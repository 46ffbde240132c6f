package postgres

import (
	"encoding"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// micros is a time at rest.
func micros(t time.Time) int64 { return t.UnixMicro() }

// mark is the time at which something happened, NULL when it has not.
func mark(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := t.UnixMicro()
	return &us
}

// instant reads micros and mark.
type instant time.Time

// ScanInt64 implements pgtype.Int64Scanner.
func (t *instant) ScanInt64(v pgtype.Int8) error {
	*t = instant{}
	if v.Valid {
		*t = instant(time.UnixMicro(v.Int64).UTC())
	}
	return nil
}

// text reads a value that parses itself.
type text struct{ encoding.TextUnmarshaler }

// ScanText implements pgtype.TextScanner.
func (t text) ScanText(v pgtype.Text) error {
	if !v.Valid {
		return errors.New("a text is NULL")
	}
	return t.UnmarshalText([]byte(v.String))
}

// some is never NULL.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
