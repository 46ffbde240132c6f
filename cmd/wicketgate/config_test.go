package main

import (
	"strings"
	"testing"
)

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
