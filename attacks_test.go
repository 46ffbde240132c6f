package wicketgate_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testName is how documents name a test.
var testName = regexp.MustCompile("`(Test\\w+)`")

// TestListedAttacksHaveTheirTests: a test that is renamed or removed takes its line
// out of docs/attacks.md with it.
func TestListedAttacksHaveTheirTests(t *testing.T) {
	for line := range strings.Lines(checkTests(t, "docs/attacks.md")) {
		head := strings.HasPrefix(line, "| attack") || strings.HasPrefix(line, "| trap") || strings.HasPrefix(line, "|---")
		if strings.HasPrefix(line, "|") && !head && !testName.MatchString(line) {
			t.Errorf("no test: %s", line)
		}
	}
}

// TestListedLoginsHaveTheirTests is the same for docs/interop.md.
func TestListedLoginsHaveTheirTests(t *testing.T) { checkTests(t, "docs/interop.md") }

// checkTests checks that the tests which the page names are there, and returns the page.
func checkTests(t *testing.T, page string) string {
	t.Helper()
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
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
		if !tests[m[1]] {
			t.Errorf("%s: no test %s", page, m[1])
		}
	}
	return string(text)
}
