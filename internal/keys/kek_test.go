package keys_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/keys"
)

func TestKEKIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	first, err := keys.LoadKEK(path)
	if err != nil || first == (keys.KEK{}) {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if again, err := keys.LoadKEK(path); err != nil || again != first {
		t.Errorf("the second start has another key (%v)", err)
	}
	if other, err := keys.LoadKEK(path + "2"); err != nil || other == first {
		t.Errorf("two files, one key (%v)", err)
	}
}

func TestKEKThatOthersCanReadIsRefused(t *testing.T) {
	good := []byte(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	for mode, want := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o644: false, 0o620: false, 0o610: false, 0o606: false, 0o666: false} {
		path := filepath.Join(t.TempDir(), "kek")
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // WriteFile's mode goes through the umask
			t.Fatal(err)
		}
		if _, err := keys.LoadKEK(path); (err == nil) != want {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestBadKEKFilesAreRefused(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	good := base64.StdEncoding.EncodeToString(key)
	tests := []struct {
		name     string
		contents string
		want     bool
	}{
		{"base64 of 32 bytes", good, true},
		{"white space around", "\n " + good + "\r\n", true},
		{"nothing, as a crash may leave", "", false},
		{"31 bytes", base64.StdEncoding.EncodeToString(key[:31]), false},
		{"33 bytes", base64.StdEncoding.EncodeToString(append(key, 7)), false},
		{"two keys", good + good, false},
		{"two lines", good + "\n" + good, false},
		{"hexadecimal", strings.Repeat("07", 32), false},
		{"raw bytes", string(key), false},
		{"without padding", strings.TrimRight(good, "="), false},
		{"a comment", "# key\n" + good, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kek")
			if err := os.WriteFile(path, []byte(tt.contents), 0o600); err != nil {
				t.Fatal(err)
			}
			k, err := keys.LoadKEK(path)
			if (err == nil) != tt.want || tt.want && k != keys.KEK(key) {
				t.Errorf("LoadKEK: %v", err)
			}
			if err != nil && tt.contents != "" && strings.Contains(err.Error(), tt.contents) {
				t.Errorf("the error prints the file: %v", err)
			}
			if b, _ := os.ReadFile(path); string(b) != tt.contents {
				t.Error("the file was changed")
			}
		})
	}
}

// TestKEKIsNotMadeWhereItCannotBeKept: no folder, a folder in its place, a link to nowhere.
func TestKEKIsNotMadeWhereItCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing", "kek"), dir, link} {
		if k, err := keys.LoadKEK(path); err == nil || k != (keys.KEK{}) {
			t.Errorf("LoadKEK(%s) = %v, %v, want an error", path, k, err)
		}
	}
}
