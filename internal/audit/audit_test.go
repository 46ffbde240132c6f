package audit_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// key is the key that signs the heads of a test, under the id "k1".
var key = func() ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}()

type signer struct {
	id  string
	key ed25519.PrivateKey
}

func (s signer) Sign(m []byte) (string, []byte, error) {
	sig, err := audit.SignMessage(s.key, m)
	return s.id, sig, err
}

func keys(id string) (audit.VerifyKey, bool) {
	if id != "k1" {
		return nil, false
	}
	k, err := audit.PublicKey(key.Public())
	return k, err == nil
}

// store is a Heads that another process can read: one JSON file.
type store struct {
	path string

	mu   sync.Mutex // guards the file and fail
	fail error
}

func (s *store) read() map[string]audit.Head {
	m := map[string]audit.Head{}
	if b, err := os.ReadFile(s.path); err == nil {
		if err := json.Unmarshal(b, &m); err != nil {
			panic(err)
		}
	}
	return m
}

func (s *store) SaveHead(_ context.Context, h audit.Head) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.read()
	if s.fail != nil || m[h.Log].Seq > h.Seq {
		return s.fail
	}
	m[h.Log] = h
	return s.write(m)
}

func (s *store) write(m map[string]audit.Head) error {
	b, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(s.path+".new", b, 0o600)
	}
	return errors.Join(err, os.Rename(s.path+".new", s.path))
}

func (s *store) Heads(_ context.Context, log string) ([]audit.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []audit.Head
	for id, h := range s.read() {
		if log == "" || id == log {
			list = append(list, h)
		}
	}
	return list, s.fail
}

func (s *store) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// logs is a directory with a log and its store.
type logs struct {
	t     testing.TB
	path  string
	store *store
}

func newLogs(t testing.TB) *logs {
	dir := t.TempDir()
	return &logs{t, filepath.Join(dir, "audit.jsonl"), &store{path: filepath.Join(dir, "heads.json")}}
}

func (d *logs) config() audit.Config {
	return audit.Config{Path: d.path, Signer: signer{"k1", key}, Heads: d.store, Every: 4}
}

func (d *logs) open() *audit.Log {
	d.t.Helper()
	l, err := audit.Open(d.t.Context(), d.config())
	if err != nil {
		d.t.Fatalf("Open() = %v", err)
	}
	d.t.Cleanup(func() { _ = l.Close() })
	return l
}

// filled is a log of n events that was closed in order.
func filled(t testing.TB, n int) *logs {
	d := newLogs(t)
	l := d.open()
	for i := range n {
		record(t, l, audit.Event{Kind: audit.Intent, Call: string(rune('a' + i)), Subject: "alice"})
	}
	closeLog(t, l)
	return d
}

func record(t testing.TB, r audit.Recorder, e audit.Event) {
	t.Helper()
	if err := r.Record(t.Context(), e); err != nil {
		t.Fatalf("Record() = %v", err)
	}
}

func closeLog(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
}

func (d *logs) verify() (audit.Report, error) {
	return audit.Verify(context.Background(), audit.VerifyConfig{Path: d.path, Heads: d.store, Keys: keys})
}

// intact verifies and wants no break.
func (d *logs) intact() audit.Report {
	d.t.Helper()
	r, err := d.verify()
	if err != nil {
		d.t.Fatalf("Verify() = %v\n%s", err, r)
	}
	return r
}

// lines returns the lines of the file, without newlines.
func (d *logs) lines() []string {
	d.t.Helper()
	b, err := os.ReadFile(d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func (d *logs) setLines(lines []string) { d.setBytes([]byte(strings.Join(lines, "\n") + "\n")) }

func (d *logs) setBytes(b []byte) {
	d.t.Helper()
	if err := os.WriteFile(d.path, b, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *logs) bytes() []byte {
	d.t.Helper()
	b, err := os.ReadFile(d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// events reads the log through Lines.
func (d *logs) events() []audit.Line {
	d.t.Helper()
	var list []audit.Line
	for l, err := range audit.Lines(bytes.NewReader(d.bytes())) {
		if err != nil {
			d.t.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

func kinds(list []audit.Line) []audit.Kind {
	var k []audit.Kind
	for _, l := range list {
		k = append(k, l.Kind)
	}
	return k
}

func TestHeadsAreSignedWithEd25519AndP256Only(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	sig, err := audit.SignMessage(p256, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	verify, err := audit.PublicKey(p256.Public())
	if err != nil {
		t.Fatal(err)
	}
	if !verify([]byte("m"), sig) || verify([]byte("n"), sig) {
		t.Error("the P-256 key does not tell its message from another one")
	}
	if _, err := audit.SignMessage(p384, []byte("m")); err == nil {
		t.Error("SignMessage(P-384) = nil, want an error")
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
