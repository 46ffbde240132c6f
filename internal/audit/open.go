package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Config configures a Log. Path, Signer and Heads are required.
type Config struct {
	Path   string // of the file, e.g. DATA/audit.jsonl; its directory must exist
	Name   string // tells this process from others that share the store: [A-Za-z0-9_.-]*, the same after a restart
	Signer Signer
	Heads  Heads
	Now    func() time.Time // default time.Now
	Every  int              // a head is signed after so many lines, and after a second; default 256
	Sync   bool             // fsync every group of lines: survives a power cut, costs milliseconds
	Logger *slog.Logger     // default: discards

	// Replaces is the id of a log that an operator gave up after an
	// investigation: Open may then begin a new one although the store knows the
	// old one. The first line of the new log names it.
	Replaces string
}

// Open opens the log, or begins it, checks it as far as the store's head and the
// chain say, repairs a torn last line, records a start, and has a head of that in
// the store before it returns. A file that is not what was written is an
// ErrTampered; nothing is changed then. It reads the whole file.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if cfg.Signer == nil || cfg.Heads == nil || strings.ContainsFunc(cfg.Name, notInName) {
		return nil, errors.New("open audit log: Signer, Heads or a valid Name is missing")
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := newLog(cfg, path)
	if err := l.begin(ctx); err != nil {
		if l.file != nil {
			err = errors.Join(err, l.file.Close())
		}
		return nil, err
	}
	l.stopped.Go(l.keepHeads)
	return l, nil
}

func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_.-", r))
}

// begin does what Open does, before there is any other goroutine.
func (l *Log) begin(ctx context.Context) error {
	stored, err := l.expected(ctx)
	if err != nil {
		return err
	}
	if err := l.openFile(stored != nil); err != nil {
		return err
	}
	s := scanner{stored: stored}
	if err := s.scan(l.file); err != nil {
		return err
	}
	if err := l.check(&s); err != nil {
		return err
	}
	if err := l.resume(&s); err != nil {
		return err
	}
	if err := l.saveHead(ctx); err != nil {
		return err
	}
	if l.count > 0 {
		return errors.New("open audit log: no head could be signed")
	}
	return nil
}

// expected returns the head that the file must hold, nil if there is none.
func (l *Log) expected(ctx context.Context) (*Head, error) {
	h, known, err := expected(ctx, l.cfg.Heads, l.cfg.Name)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, nil
	}
	if h.Log != l.cfg.Replaces {
		return &h, nil
	}
	// The old log is given up: unless its file is still there, begin a new one.
	if id, err := firstLog(l.path); err == nil && id == h.Log {
		return &h, nil
	}
	return nil, nil
}

// firstLog returns the id of the log in the file.
func firstLog(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := newLineReader(f).next()
	h, _ := parseHeader(raw)
	return h.Log, err
}

// openFile opens and locks the file. It makes one only if none is expected.
func (l *Log) openFile(expected bool) error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if expected {
			return l.tampered(Break{Kind: Gone, Detail: "the store holds a signed head of it"})
		}
		f, err = os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	}
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	l.file = f
	if err := lockFile(f); err != nil {
		return err
	}
	return syncDir(filepath.Dir(l.path))
}

// syncDir makes the file's name as durable as its contents.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	defer d.Close()
	return d.Sync()
}

// check decides on what the scan found.
func (l *Log) check(s *scanner) error {
	if s.stored != nil && s.tip.log != s.stored.Log {
		return l.tampered(otherLog(s))
	}
	if s.found != nil {
		return l.tampered(*s.found)
	}
	if s.stored == nil && s.lines > 0 {
		l.cfg.Logger.Warn("the store knows no head of this audit log", "path", l.path, "log", s.tip.log)
	}
	return nil
}

// otherLog is the break of a file that does not hold the stored log: what the
// scan found, unless that only follows from its being another log.
func otherLog(s *scanner) Break {
	if s.lines == 0 || s.found != nil && s.found.Kind != CutOff && s.found.Kind != Rewritten {
		return *s.found
	}
	return Break{Kind: Replaced, Line: 1, Seq: 1, Detail: fmt.Sprintf(
		"the file holds the log %q, the store knows %q", s.tip.log, s.stored.Log)}
}

func (l *Log) tampered(b Break) error {
	return fmt.Errorf("%w: %s: %s; run `wicketgate audit verify --data %s`, and move the file away only after an"+
		" investigation, then begin a new log that says which one it replaces",
		ErrTampered, l.path, b, strconv.Quote(filepath.Dir(l.path)))
}

// resume cuts a torn last line off and writes the first lines of this process.
func (l *Log) resume(s *scanner) error {
	if s.torn != nil {
		if err := l.file.Truncate(s.size); err != nil {
			return fmt.Errorf("repair audit log: %w", err)
		}
	}
	id, err := fstat(l.file)
	if err != nil {
		return err
	}
	l.id, l.done = id, s.tip
	if s.heads > 0 {
		l.head = &s.head
	}
	l.tip, l.count = l.done, l.uncovered()
	return l.writeStart(s)
}

func (l *Log) writeStart(s *scanner) error {
	l.mu.Lock()
	var body []byte
	if s.lines == 0 {
		l.tip = newTip(newLogID(l.cfg.Name))
		body = appendString(body, `,"log":`, l.tip.log)
		body = appendString(body, `,"replaces":`, l.cfg.Replaces)
	}
	body, err := appendBody(body, &Event{Kind: Start, Time: l.cfg.Now()})
	b := l.add(body)
	if s.torn != nil {
		l.add(s.torn.appendBody(l.cfg.Now()))
	}
	l.addHead()
	l.mu.Unlock()
	return errors.Join(err, l.await(b))
}

func (t *Torn) appendBody(now time.Time) []byte {
	body := appendString(nil, `,"kind":`, string(Recovered))
	body = appendString(body, `,"time":`, now.UTC().Format(time.RFC3339Nano))
	body = appendInt(body, `,"bytes":`, t.Bytes)
	return appendString(body, `,"fragment_digest":`, t.SHA256)
}
