package wicketgate_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestListedAttacksHaveTheirTests: a test that is renamed or removed takes its line
// out of docs/attacks.md with it.
func TestListedAttacksHaveTheirTests(t *testing.T) {
	tests := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(source, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("`(Test\\w+)`")
	for line := range strings.Lines(string(page)) {
		names := row.FindAllStringSubmatch(line, -1)
		for _, m := range names {
			if !tests[m[1]] {
				t.Errorf("%s: no such test", m[1])
			}
		}
		head := strings.HasPrefix(line, "| attack") || strings.HasPrefix(line, "| trap") || strings.HasPrefix(line, "|---")
		if strings.HasPrefix(line, "|") && !head && len(names) == 0 {
			t.Errorf("no test: %s", line)
		}
	}
}
