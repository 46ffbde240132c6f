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

// TestAcceptanceTestsSayWhatTheyShow: each test of docs/acceptance.md is there, and in the
// rows A1 to A30 its comment has the number.
func TestAcceptanceTestsSayWhatTheyShow(t *testing.T) {
	comments := testComments(t)
	row := regexp.MustCompile(`^\| (A\d+) \|`)
	rows := 0
	for line := range strings.Lines(checkTests(t, "docs/acceptance.md")) {
		number := row.FindStringSubmatch(line)
		if number == nil {
			continue
		}
		rows++
		tests := testName.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 && !strings.Contains(line, "| later: ") {
			t.Errorf("no test: %s", line)
		}
		said := regexp.MustCompile(`\b` + number[1] + `\b`)
		for _, m := range tests {
			if !said.MatchString(comments[m[1]]) {
				t.Errorf("%s: the comment of %s does not say so", number[1], m[1])
			}
		}
	}
	if rows != 30 {
		t.Errorf("%d rows, want 30", rows)
	}
}

// testComments has the comment of each test.
func testComments(t *testing.T) map[string]string {
	t.Helper()
	comments, function := map[string]string{}, regexp.MustCompile(`(?m)((?:^//.*\n)*)^func (Test\w+)\(`)
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(source, -1) {
			comments[string(m[2])] += string(m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return comments
}

// checkTests checks that the tests which the page names are there, and returns the page.
func checkTests(t *testing.T, page string) string {
	t.Helper()
	tests := testComments(t)
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
		if _, ok := tests[m[1]]; !ok {
			t.Errorf("%s: no test %s", page, m[1])
		}
	}
	return string(text)
}
