package schema_test

import (
	"go/build"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/schema"
)

// TestSchemaConformance runs the JSON-Schema-Test-Suite that google/jsonschema-go
// ships (the MCP SDK needs that module, so it is there). What does not compile is
// not served, which is allowed; a wrong verdict is not. Beside a draft-07 $ref we
// are stricter on purpose.
func TestSchemaConformance(t *testing.T) {
	p, err := build.Import("github.com/google/jsonschema-go/jsonschema", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	type group struct {
		Description string         `json:"description"`
		Schema      jsontext.Value `json:"schema"`
		Tests       []struct {
			Description string         `json:"description"`
			Data        jsontext.Value `json:"data"`
			Valid       bool           `json:"valid"`
		} `json:"tests"`
	}
	files, err := filepath.Glob(filepath.Join(p.Dir, "testdata", "draft*", "*.json"))
	if err != nil || len(files) < 70 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	run, refused := 0, 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var groups []group
		if err := json.Unmarshal(b, &groups); err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			s, err := schema.CompileOutput(g.Schema)
			for _, c := range g.Tests {
				run++
				if err != nil {
					refused++
					break
				}
				if got := s.Check(c.Data); (got == nil) != c.Valid && g.Description != "ref overrides any sibling keywords" {
					t.Errorf("%s: %s: %s: %v", file[len(p.Dir):], g.Description, c.Description, got)
				}
			}
		}
	}
	t.Logf("%d cases, %d groups not served", run, refused)
	if run < 1900 || refused > 60 {
		t.Errorf("%d cases, %d groups not served", run, refused)
	}
}
