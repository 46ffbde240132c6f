package main

import "testing"

// TestSubjectNamedSoThatItIsAnothersRole: what a subject may be called is not ours to say.
func TestSubjectNamedSoThatItIsAnothersRole(t *testing.T) {
	for _, c := range []struct{ path, other, name string }{
		{"database/creds/reports-{{.subject}}", "database/creds/reports-eu-{{.subject}}", "eu-bob"},
		{"database/creds/reports-{{.subject}}", "database/creds/reports-admin", "admin"},
		{"secret/data/notes/{{.subject}}", "secret/data/notes/shared", "shared"},
		{"database/creds/{{.subject}}-ro", "database/creds/eu-{{.subject}}-ro", "eu-bob"},
		{"database/creds/x-{{.subject}}", "database/creds/x-{{.subject}}-ro", "bob-ro"},
	} {
		if name, ok := runsInto(c.path, c.other); !ok || name != c.name {
			t.Errorf("%s of %q is %s: %v, want %q", c.path, name, c.other, ok, c.name)
		}
	}
	for _, c := range [][2]string{
		{"database/creds/reports-{{.subject}}", "database/creds/reports-{{.subject}}"},
		{"database/creds/reports-{{.subject}}", "database/creds/notes-{{.subject}}"},
		{"database/creds/reports", "database/creds/reports-{{.subject}}"},
		{"database/creds/reports-{{.subject}}", "database/creds/reports-"},
		{"secret/data/notes/{{.subject}}", "secret/data/notes/{{.subject}}/github"},
	} {
		if name, ok := runsInto(c[0], c[1]); ok {
			t.Errorf("%s of %q is %s", c[0], name, c[1])
		}
	}
}
