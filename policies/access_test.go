package policies_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wicketgate/wicketgate/policies"
)

// TestBadAccess checks the exact text of every mistake: it is the user interface
// of the person who writes access.yaml. Each file of testdata/bad.txt is a
// document, and the one after it its errors.
func TestBadAccess(t *testing.T) {
	const file = "testdata/bad.txt"
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(a.Files); i += 2 {
		doc, want := a.Files[i], &a.Files[i+1]
		t.Run(doc.Name, func(t *testing.T) {
			got := "no error\n"
			if _, err := policies.New(t.Context(), policies.Config{Access: doc.Data}); err != nil {
				got = err.Error() + "\n"
			}
			if *update {
				want.Data = []byte(got)
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" || got == "no error\n" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(a), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmptyAccessIsNoPolicy(t *testing.T) {
	for _, doc := range []string{"", "\n", "# nothing\n", "---\n", "null\n", "~", "--- # nothing\n...\n"} {
		p, err := policies.New(t.Context(), policies.Config{Access: []byte(doc)})
		if err != nil {
			t.Errorf("New(%q): %v", doc, err)
			continue
		}
		d := p.Decide(t.Context(), call(t, "alice", "claude", "mail", "read_message"))
		if d.Allowed() || d.Reason != policies.ReasonNoPolicy || p.Digest() != "" {
			t.Errorf("New(%q) decides %+v with digest %q, want no_policy and none", doc, d, p.Digest())
		}
	}
}

func FuzzAccess(f *testing.F) {
	f.Add([]byte(example))
	a, err := txtar.ParseFile("testdata/bad.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range a.Files {
		f.Add(file.Data)
	}
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if a, err := txtar.ParseFile(c); err == nil {
			f.Add(a.Files[0].Data)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := policies.New(t.Context(), policies.Config{Access: b})
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "access.yaml:") {
					t.Errorf("error without a place: %q", line)
				}
			}
			return
		}
		d := p.Decide(t.Context(), call(t, "alice", "claude", "mail", "read_message"))
		if d.Reason != policies.ReasonAllowed && d.Reason != policies.ReasonNoPolicy && d.Reason != policies.ReasonNoRole && d.Reason != policies.ReasonNotGranted {
			t.Errorf("accepted document decides %+v", d)
		}
	})
}
