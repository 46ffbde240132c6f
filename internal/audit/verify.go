package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// VerifyConfig says what to verify. Path and Keys are required.
type VerifyConfig struct {
	Path  string
	Name  string // Config.Name of the process that wrote it
	Log   string // the id of an archived log; empty: the newest that the store knows
	Heads Heads  // nil: a log that was cut off or deleted is not noticed, and the report says so
	Keys  Keys
}

// Report is what Verify found.
type Report struct {
	Path     string
	Log      string
	Lines    uint64 // that are whole and in order
	Heads    int    // that are signed well
	Unsigned uint64 // lines after the last signed head; a head of the store covers no more
	Torn     *Torn  // what a crash left of the last line: not tampering
	Stored   *Head  // the head that the store holds
	NoStore  bool   // there was no store to compare with
	Break    *Break // the first one, nil if there is none
}

// Verify checks the log at cfg.Path against its chain, the signatures of its
// heads, and the newest head in the store. It changes nothing and may run while
// the log is written. The error is ErrTampered (wrapped) when the report has a
// break; any other error says that the log could not be checked.
func Verify(ctx context.Context, cfg VerifyConfig) (Report, error) {
	r := Report{Path: cfg.Path, NoStore: cfg.Heads == nil}
	if cfg.Keys == nil {
		return r, errors.New("verify audit log: Keys is missing")
	}
	if err := r.load(ctx, cfg); err != nil { // before the file is read, so that the file is newer
		return r, err
	}
	if err := r.check(cfg); err != nil {
		return r, err
	}
	if r.Break != nil {
		return r, fmt.Errorf("%w: %s: %s", ErrTampered, r.Path, r.Break)
	}
	return r, nil
}

// load reads the stored head.
func (r *Report) load(ctx context.Context, cfg VerifyConfig) error {
	if cfg.Heads == nil {
		return nil
	}
	if cfg.Log == "" {
		h, known, err := expected(ctx, cfg.Heads, cfg.Name)
		if known {
			r.Stored = &h
		}
		return err
	}
	list, err := cfg.Heads.Heads(ctx, cfg.Log)
	if err != nil {
		return fmt.Errorf("read stored audit heads: %w", err)
	}
	if len(list) == 0 {
		return fmt.Errorf("the store knows no head of the log %q", cfg.Log)
	}
	r.Stored = &list[0]
	return nil
}

func (r *Report) check(cfg VerifyConfig) error {
	if r.Stored != nil {
		if bad := r.Stored.verify(cfg.Keys); bad != "" {
			r.Break = &Break{Kind: BadSignature, Detail: "the head in the store is " + bad}
			return nil
		}
	}
	f, err := os.Open(cfg.Path)
	if errors.Is(err, fs.ErrNotExist) && r.Stored != nil {
		r.Break = &Break{Kind: Gone, Detail: fmt.Sprintf("the store holds a signed head for its line %d", r.Stored.Seq)}
		return nil
	}
	if err != nil {
		return fmt.Errorf("verify audit log: %w", err)
	}
	defer f.Close()
	s := scanner{stored: r.Stored, keys: cfg.Keys}
	if err := s.scan(f); err != nil {
		return err
	}
	r.fill(&s)
	return nil
}

func (r *Report) fill(s *scanner) {
	r.Log, r.Heads, r.Torn, r.Break = s.tip.log, s.heads, s.torn, s.found
	r.Lines = s.tip.seq
	if s.found != nil && s.found.Kind != CutOff {
		r.Lines = s.found.Seq - 1 // what stands before the break
	}
	r.Unsigned = r.Lines
	if s.heads > 0 {
		r.Unsigned = r.Lines - min(r.Lines, s.head.Seq+1)
	}
	if s.stored != nil && s.tip.log != s.stored.Log {
		b := otherLog(s)
		r.Break = &b
	}
}

// String returns the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: log %q: %d lines in order, %d signed heads\n", r.Path, r.Log, r.Lines, r.Heads)
	if r.Unsigned > 0 {
		fmt.Fprintf(&b, "note: %d lines not yet covered by a signed head\n", r.Unsigned)
	}
	if r.Torn != nil {
		fmt.Fprintf(&b, "note: the last line is torn (%d bytes), as a crash leaves it; the next start repairs that\n", r.Torn.Bytes)
	}
	switch {
	case r.NoStore:
		b.WriteString("note: not compared with the store: lines cut off at the end would not be noticed\n")
	case r.Stored == nil:
		b.WriteString("note: the store knows no head of this log: lines cut off at the end would not be noticed\n")
	}
	if r.Break != nil {
		fmt.Fprintf(&b, "TAMPERED: %s\n", r.Break)
		return b.String()
	}
	b.WriteString("ok\n")
	return b.String()
}
