package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExampleIsRight checks deploy/wicketgate.example.yaml as an operator would,
// with the files that it names.
func TestExampleIsRight(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	writePair(t, filepath.Join(dir, "tls"), 1)
	for from, to := range map[string]string{"wicketgate.example.yaml": "wicketgate.yaml", "access.example.yaml": "access.yaml"} {
		b, err := os.ReadFile(filepath.Join("../../deploy", from))
		if err != nil {
			t.Fatal(err)
		}
		b = []byte(strings.Replace(string(b), "data: /var/lib/wicketgate\n", "data: lib\n", 1)) // which this machine may have
		replaceFile(t, filepath.Join(dir, to), b)
	}
	replaceFile(t, filepath.Join(dir, "billing-agent.secret"), []byte(agentSecret))
	var out strings.Builder
	code := run(t.Context(), []string{"serve", "--config", filepath.Join(dir, "wicketgate.yaml"), "--check-config"}, &out, &out)
	if code != 0 || !strings.Contains(out.String(), "wicketgate.yaml: ok\n") || strings.Count(out.String(), "note:") != 1 {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
	for _, made := range []string{"lib", "kek"} {
		if _, err := os.Stat(filepath.Join(dir, made)); err == nil {
			t.Errorf("the check made %s", made)
		}
	}
}

// FuzzConfig: whatever is in the file, the reader ends with a configuration or
// with mistakes that each have a place.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{"issuer: https://a\ndata: d\npolicy: p\n", "tls: {cert: [1], key: ~}", "servers: [{name: a}, b]", "a: &x 1\nb: *x", "? [a]\n: b", "limits: {connections: 1e3}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		d := &document{file: "f"}
		d.read([]byte(in), &Config{})
		if d.nodes[""] == nil && len(d.mistakes) == 0 {
			t.Error("neither a configuration nor a mistake")
		}
		for _, m := range d.mistakes {
			if m.line < 1 || m.column < 1 || m.text == "" {
				t.Errorf("mistake %+v", m)
			}
		}
	})
}

func TestSecretInTheWrongFieldIsNotShown(t *testing.T) {
	for _, wrong := range []string{agentSecret[:40], strings.ToUpper(agentSecret), "1234567890"} {
		d := &document{file: "f"}
		d.read([]byte("clients: [{id: a, secret_sha256: "+wrong+"}]"), &Config{})
		err := d.err()
		if err == nil || strings.Contains(err.Error(), wrong) || !strings.Contains(err.Error(), "secret_sha256") {
			t.Errorf("%v", err)
		}
	}
}
