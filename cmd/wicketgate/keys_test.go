package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/sqlite"
)

// keysRun runs wicketgate keys.
func keysRun(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs strings.Builder
	c := keysCommand()
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

// kidOf is the key that signed a token.
func kidOf(t *testing.T, raw string) string {
	t.Helper()
	h, _, _ := strings.Cut(raw, ".")
	b, err := base64.RawURLEncoding.DecodeString(h)
	if err != nil {
		t.Fatal(err)
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(b, &header); err != nil {
		t.Fatal(err)
	}
	return header.KeyID
}

// TestKeysAreRotatedBesideARunningServer: nobody notices, and the next start signs
// with the new key and takes what the old one signed.
func TestKeysAreRotatedBesideARunningServer(t *testing.T) {
	w := newWorld(t, nil)
	config := w.config(withTLS + withAgent)
	stop := w.start(config)
	old, refused := w.accessToken(w.client())
	if old == "" {
		t.Fatalf("no access token: %s", refused)
	}
	if out, _, err := keysRun(t, "rotate", "--config", config); !errors.Is(err, keys.ErrTooSoon) || out != "" {
		t.Errorf("right after the first start: %q, %v, want %v", out, err, keys.ErrTooSoon)
	}
	out, _, err := keysRun(t, "rotate", "--config", config, "--force")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`^token: (token-\S+) is in use now\naudit: audit-\S+ is in use now\nsession: session-\S+ is in use now\n$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("rotate printed %q", out)
	}
	w.connect(old)
	if code := stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.restart(config)
	w.connect(old)
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatalf("no access token after the rotation: %s", refused)
	}
	if got := kidOf(t, raw); got != m[1] || kidOf(t, old) == got {
		t.Errorf("signed by %s, before by %s, want %s", got, kidOf(t, old), m[1])
	}
	w.connect(raw)
	out, _, err = keysRun(t, "list", "--config", config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`token-\S+ +token +ES256 +previous`, m[1] + ` +token +ES256 +current`, `token +ES256 +next`, `session +A256GCM +previous`, `audit +ES256 +current`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("list has no %q:\n%s", want, out)
		}
	}
}

// oldKeys is a data folder with keys that have been in use for the age.
func oldKeys(t *testing.T, age time.Duration) (dir string, records []keys.Record) {
	t.Helper()
	dir = t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, fileStore))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	kek, err := keys.LoadKEK(filepath.Join(dir, fileKEK))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(t.Context(), store, kek, func() time.Time { return time.Now().Add(-age) }); err != nil {
		t.Fatal(err)
	}
	records, err = store.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dir, records
}

func TestKeysListSaysWhatIsOldAndNoSecret(t *testing.T) {
	dir, records := oldKeys(t, 61*24*time.Hour)
	out, notes, err := keysRun(t, "list", "--data", dir)
	if err != nil || strings.Count(out, "\n") != 7 || strings.Count(out, " 61d ") != 6 {
		t.Errorf("%v, want a heading and six keys:\n%s", err, out)
	}
	for _, u := range keys.Uses() {
		if want := "note: the " + string(u) + " key has been in use for 61d: wicketgate keys rotate --use " + string(u) + "\n"; !strings.Contains(notes, want) {
			t.Errorf("no %q in %q", want, notes)
		}
	}
	for _, r := range records {
		for _, encode := range []func([]byte) string{base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString, func(b []byte) string { return string(b) }} {
			if strings.Contains(out+notes, encode(r.Wrapped[:12])) {
				t.Errorf("the wrapped key %s is printed", r.KeyID)
			}
		}
	}
	if out, _, err := keysRun(t, "rotate", "--data", dir, "--use", "audit"); err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("rotate --use audit: %q, %v", out, err)
	}
	if _, notes, err := keysRun(t, "list", "--data", dir); err != nil || strings.Contains(notes, "audit") || !strings.Contains(notes, "token") {
		t.Errorf("after the rotation of the audit key: %q, %v", notes, err)
	}
}

// TestKeysRotateNeedsTheKeyEncryptionKey, makes none, and changes nothing without it.
func TestKeysRotateNeedsTheKeyEncryptionKey(t *testing.T) {
	dir, before := oldKeys(t, time.Hour)
	kek := filepath.Join(dir, fileKEK)
	if err := os.Rename(kek, kek+".away"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keysRun(t, "rotate", "--data", dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a key-encryption key: %v", err)
	}
	if _, err := os.Stat(kek); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key-encryption key was made: %v", err)
	}
	if _, err := keys.LoadKEK(kek); err != nil { // another
		t.Fatal(err)
	}
	if _, _, err := keysRun(t, "rotate", "--data", dir, "--force"); !errors.Is(err, keys.ErrWrongKEK) {
		t.Errorf("with another key-encryption key: %v, want %v", err, keys.ErrWrongKEK)
	}
	after, err := storedKeys(t.Context(), houseConfig{Store: storeConfig{SQLite: filepath.Join(dir, fileStore)}})
	if err != nil || !slices.EqualFunc(before, after, func(a, b keys.Record) bool { return a.KeyID == b.KeyID && a.Activated.Equal(b.Activated) }) {
		t.Errorf("the keys changed: %v", err)
	}
}

// TestReloadKeysSaysWhatHappens: who signs now, and once a day which key is old.
func TestReloadKeysSaysWhatHappens(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	store, err := sqlite.Open(ctx, filepath.Join(dir, fileStore))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var ring *keys.Ring
	ring, err = keys.Open(ctx, store, keys.KEK{1}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	m := newMetrics()
	m.watchKeys(ring)
	var log bytes.Buffer
	follow := reloadKeys(ring, slog.New(slog.NewTextHandler(&log, nil)))
	const day = 24 * time.Hour
	steps := []struct {
		pass          time.Duration
		warned, moved int // lines, by all uses
	}{
		{0, 0, 0}, {60*day - time.Second, 0, 0}, {time.Second, 3, 0}, {time.Minute, 0, 0}, {day, 3, 0}, {28*day - time.Minute, 3, 0}, {day, 0, 3}, {0, 0, 0},
	}
	for i, s := range steps {
		log.Reset()
		now = now.Add(s.pass)
		if err := follow(ctx); err != nil {
			t.Fatal(err)
		}
		if w, r := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "key rotated"); w != s.warned || r != s.moved {
			t.Errorf("step %d: %d warnings and %d rotations, want %d and %d:\n%s", i, w, r, s.warned, s.moved, &log)
		}
	}
	now = now.Add(90 * time.Second)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	ages := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "wicketgate_key_age_seconds" {
			for _, s := range f.GetMetric() {
				ages[s.GetLabel()[0].GetValue()] = s.GetGauge().GetValue()
			}
		}
	}
	for _, u := range keys.Uses() {
		if ages[string(u)] != 90 {
			t.Errorf("ages %v, want 90 for %s", ages, u)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := follow(canceled); err == nil {
		t.Error("a store that does not answer is no error")
	}
}
