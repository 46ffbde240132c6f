package audit_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/audit"
)

// digest is how the log writes a hash.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// wantBreak verifies and opens; both must find the file tampered with.
func (d *logs) wantBreak(kind audit.BreakKind, line int) {
	d.t.Helper()
	r, err := d.verify()
	if !errors.Is(err, audit.ErrTampered) || r.Break == nil {
		d.t.Fatalf("Verify() = %v, want ErrTampered\n%s", err, r)
	}
	if r.Break.Kind != kind || r.Break.Line != line {
		d.t.Errorf("break = %s, want %s at line %d", r.Break, kind, line)
	}
	d.wantClosed()
}

// wantClosed opens, which must fail and change nothing.
func (d *logs) wantClosed() {
	d.t.Helper()
	before, _ := os.ReadFile(d.path)
	l, err := audit.Open(d.t.Context(), d.config())
	if !errors.Is(err, audit.ErrTampered) {
		d.t.Errorf("Open() = %v, %v; want ErrTampered", l, err)
	} else if !strings.Contains(err.Error(), d.path) || !strings.Contains(err.Error(), "wicketgate audit verify --data") {
		d.t.Errorf("Open() = %v, want the file and what to do", err)
	}
	if after, _ := os.ReadFile(d.path); string(before) != string(after) {
		d.t.Error("Open() changed a file that was tampered with")
	}
}

func TestChangedByteInAnyLineIsFoundAtThatLine(t *testing.T) {
	whole := filled(t, 6)
	lines := whole.lines()
	for i := range lines {
		for name, change := range map[string]func(string) string{
			"time":  func(s string) string { return strings.Replace(s, `"time":"20`, `"time":"21`, 1) },
			"kind":  func(s string) string { return strings.Replace(s, `"kind":"`, `"kind":"x`, 1) },
			"seq":   func(s string) string { return strings.Replace(s, `"seq":`, `"seq":9`, 1) },
			"prev":  func(s string) string { return strings.Replace(s, `"prev":"`, `"prev":"A`, 1) },
			"space": func(s string) string { return s + " " },
			"extra": func(s string) string { return strings.TrimSuffix(s, "}") + `,"subject":"mallory"}` },
		} {
			t.Run(fmt.Sprintf("%s of line %d", name, i+1), func(t *testing.T) {
				d := &logs{t, whole.path, whole.store}
				changed := slices.Clone(lines)
				changed[i] = change(changed[i])
				d.setLines(changed)
				r, err := d.verify()
				if !errors.Is(err, audit.ErrTampered) || r.Break.Line != i+1 {
					t.Errorf("Verify() = %v, want a break at line %d", err, i+1)
				}
				d.wantClosed()
			})
		}
	}
}

// A16.
func TestEveryChangedByteIsFound(t *testing.T) {
	d := filled(t, 2)
	whole := d.bytes()
	for i := range whole {
		b := slices.Clone(whole)
		b[i] ^= 1
		d.setBytes(b)
		if r, err := d.verify(); !errors.Is(err, audit.ErrTampered) {
			t.Fatalf("byte %d (%q to %q): Verify() = %v\n%s", i, whole[i], b[i], err, r)
		}
		if l, err := audit.Open(t.Context(), d.config()); !errors.Is(err, audit.ErrTampered) {
			t.Fatalf("byte %d (%q to %q): Open() = %v, %v", i, whole[i], b[i], l, err)
		}
	}
}

// A16.
func TestRemovedLineIsMissing(t *testing.T) {
	d := filled(t, 6)
	lines := d.lines()
	for i := range len(lines) - 1 { // heads among them; the last one is a cut
		d.setLines(slices.Delete(slices.Clone(lines), i, i+1))
		d.wantBreak(audit.Missing, i+1)
	}
	d.setLines(slices.Delete(slices.Clone(lines), 3, 6))
	d.wantBreak(audit.Missing, 4)
}

// A16.
func TestSwappedLinesAreReordered(t *testing.T) {
	d := filled(t, 6)
	lines := d.lines()
	for i := range len(lines) - 1 {
		swapped := slices.Clone(lines)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		d.setLines(swapped)
		d.wantBreak(audit.Reordered, i+1)
	}
}

func TestRepeatedLineIsReordered(t *testing.T) {
	d := filled(t, 6)
	lines := d.lines()
	d.setLines(slices.Insert(slices.Clone(lines), 5, lines[4]))
	d.wantBreak(audit.Reordered, 6)
}

// A16.
func TestTailCutBelowTheStoredHeadIsFound(t *testing.T) {
	d := filled(t, 6)
	lines := d.lines()
	for n := 1; n < len(lines); n++ { // each is a whole, valid chain
		d.setLines(lines[:n])
		d.wantBreak(audit.CutOff, n+1)
	}
	d.setBytes(nil)
	d.wantBreak(audit.CutOff, 1)
}

func TestDeletedFileIsFound(t *testing.T) {
	d := filled(t, 3)
	if err := os.Remove(d.path); err != nil {
		t.Fatal(err)
	}
	d.wantBreak(audit.Gone, 0)
	if _, err := os.Stat(d.path); err == nil {
		t.Error("Open() made a new file")
	}
}

// rebuild writes a log with a valid chain and the given signer, beside d's
// store, and puts it in the place of d's.
func (d *logs) rebuild(s audit.Signer, n int) {
	d.t.Helper()
	other := newLogs(d.t)
	cfg := other.config()
	cfg.Signer = s
	l, err := audit.Open(d.t.Context(), cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	for range n {
		record(d.t, l, audit.Event{Kind: audit.Intent, Subject: "mallory"})
	}
	closeLog(d.t, l)
	d.setBytes(other.bytes())
}

func TestRebuiltFileOfAnotherLogIsFound(t *testing.T) {
	d := filled(t, 3)
	d.rebuild(signer{"k1", key}, 8)
	d.wantBreak(audit.Replaced, 1)
}

func TestOlderLogPutBackIsFound(t *testing.T) {
	d := filled(t, 3)
	old, oldLog := d.bytes(), d.intact().Log
	if err := os.Remove(d.path); err != nil {
		t.Fatal(err)
	}
	cfg := d.config()
	cfg.Replaces = oldLog
	l, err := audit.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open(Replaces) = %v", err)
	}
	closeLog(t, l)
	if !strings.Contains(d.lines()[0], `"replaces":"`+oldLog+`"`) {
		t.Errorf("first line = %s, want it to name the log it replaces", d.lines()[0])
	}
	d.intact()
	d.setBytes(old)
	d.wantBreak(audit.Replaced, 1)
	cfg2 := audit.VerifyConfig{Path: d.path, Log: oldLog, Heads: d.store, Keys: keys}
	if r, err := audit.Verify(t.Context(), cfg2); err != nil {
		t.Errorf("Verify(archived log) = %v\n%s", err, r)
	}
}

// chained makes lines a valid chain again, as a forger without a key would.
func chained(lines []string, log string) []string {
	prev := digest([]byte(log))
	for i, s := range lines {
		_, body, _ := strings.Cut(s, `"prev":"`)
		lines[i] = fmt.Sprintf(`{"seq":%d,"prev":"%s%s`, i+1, prev, body[43:])
		prev = digest([]byte(lines[i]))
	}
	return lines
}

func TestRebuiltFileWithAValidChainIsFound(t *testing.T) {
	for name, forge := range map[string]func([]string) []string{
		"without heads": func(s []string) []string {
			return slices.DeleteFunc(s, func(l string) bool { return strings.Contains(l, `"kind":"head"`) })
		},
		"with the old heads": func(s []string) []string { return s },
	} {
		t.Run(name, func(t *testing.T) {
			d := filled(t, 9)
			lines, log := d.lines(), d.intact().Log
			lines[3] = strings.Replace(lines[3], "alice", "mallory", 1)
			d.setLines(chained(forge(lines), log))
			r, err := d.verify()
			if !errors.Is(err, audit.ErrTampered) {
				t.Errorf("Verify() = %v\n%s", err, r)
			}
			d.wantClosed()
		})
	}
}

func TestForgedSignatureIsFoundWithoutAStore(t *testing.T) {
	_, mallory, _ := ed25519.GenerateKey(rand.Reader)
	for name, s := range map[string]audit.Signer{
		"another key under our id": signer{"k1", mallory},
		"an unknown key":           signer{"mallory", mallory},
	} {
		t.Run(name, func(t *testing.T) {
			d := newLogs(t)
			d.rebuild(s, 3)
			r, err := d.verify() // the store knows nothing
			if !errors.Is(err, audit.ErrTampered) || r.Break.Kind != audit.BadSignature || r.Break.Line != 2 {
				t.Errorf("Verify() = %v, want a bad signature at line 2", err)
			}
		})
	}
}

func TestForgedHeadInTheStoreIsFound(t *testing.T) {
	d := filled(t, 3)
	m := d.store.read()
	for id, h := range m {
		sig, _ := base64.RawURLEncoding.DecodeString(h.Signature)
		sig[0] ^= 1
		h.Signature = base64.RawURLEncoding.EncodeToString(sig)
		m[id] = h
	}
	if err := d.store.write(m); err != nil {
		t.Fatal(err)
	}
	r, err := d.verify()
	if !errors.Is(err, audit.ErrTampered) || r.Break.Kind != audit.BadSignature || r.Break.Line != 0 {
		t.Errorf("Verify() = %v, want a bad signature in the store", err)
	}
	d.wantClosed()
}

func TestTornLastLineIsNotTampering(t *testing.T) {
	for name, fragment := range map[string]string{
		"half a line":          `{"seq":99,"prev":"abc`,
		"a line but newline":   `{"seq":99,"prev":"abc","kind":"intent"}`,
		"not JSON but newline": "{\"seq\":99,\"prev\n",
		"a page of zeros":      strings.Repeat("\x00", 300_000),
	} {
		t.Run(name, func(t *testing.T) {
			d := filled(t, 3)
			d.setBytes(append(d.bytes(), fragment...))
			r := d.intact()
			want := &audit.Torn{Bytes: int64(len(fragment)), SHA256: digest([]byte(strings.TrimSuffix(fragment, "\n")))}
			if diff := cmp.Diff(want, r.Torn); diff != "" {
				t.Errorf("torn (-want +got):\n%s", diff)
			}
			closeLog(t, d.open())
			if r := d.intact(); r.Torn != nil || r.Unsigned != 0 {
				t.Errorf("after the repair: %s", r)
			}
			lines := d.lines()
			if got := lines[len(lines)-4]; !strings.Contains(got, `"kind":"recovered",`) ||
				!strings.Contains(got, fmt.Sprintf(`"bytes":%d,"fragment_digest":"%s"`, want.Bytes, want.SHA256)) {
				t.Errorf("line = %s, want what was cut off", got)
			}
		})
	}
}

func TestTornFirstLineBeginsTheLog(t *testing.T) {
	d := newLogs(t)
	d.setBytes([]byte(`{"seq":1,"prev`))
	closeLog(t, d.open())
	d.intact()
}

func TestCrashBeforeTheFirstHeadWasSavedIsNotTampering(t *testing.T) {
	d := filled(t, 0)
	d.setLines(d.lines()[:1])
	if err := os.Remove(d.store.path); err != nil {
		t.Fatal(err)
	}
	if r := d.intact(); r.Unsigned != 1 {
		t.Errorf("report = %s, want one unsigned line", r)
	}
	closeLog(t, d.open())
	d.intact()
}

func TestProcessesThatShareAStoreDoNotMeet(t *testing.T) {
	d := filled(t, 3)
	cfg := d.config()
	cfg.Name, cfg.Path = "gateway-2", d.path+".2"
	l, err := audit.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open() of another process = %v", err)
	}
	closeLog(t, l)
	d.intact()
	r, err := audit.Verify(t.Context(), audit.VerifyConfig{Path: cfg.Path, Name: cfg.Name, Heads: d.store, Keys: keys})
	if err != nil || r.Stored == nil {
		t.Errorf("Verify() of another process = %v\n%s", err, r)
	}
}

func TestReportSaysWhatItCannotSee(t *testing.T) {
	d := filled(t, 3)
	lines := d.lines()
	d.setLines(lines[:len(lines)-2])
	r, err := audit.Verify(t.Context(), audit.VerifyConfig{Path: d.path, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 lines not yet covered by a signed head", "not compared with the store"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("report = %s, want %q", r, want)
		}
	}
	if _, err := audit.Verify(t.Context(), audit.VerifyConfig{Path: filepath.Join(t.TempDir(), "none"), Keys: keys}); err == nil {
		t.Error("Verify() of no file and no store = nil")
	}
}

// FuzzVerify is worth running with -fuzzminimizetime 5x: the file system makes
// minimizing slow.
func FuzzVerify(f *testing.F) {
	whole := filled(f, 5).bytes()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("{\"seq\":1,\"prev\":\"\",\"kind\":\"head\"}\n\n"))
	f.Add([]byte(strings.Repeat("x", 1000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newLogs(t)
		d.setBytes(b)
		r, err := d.verify()
		if (r.Break != nil) != errors.Is(err, audit.ErrTampered) {
			t.Errorf("Verify() = %v with break %v", err, r.Break)
		}
		_ = r.String()
		for _, err := range audit.Lines(strings.NewReader(string(b))) {
			_ = err
		}
	})
}
