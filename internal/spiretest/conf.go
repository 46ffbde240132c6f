package spiretest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/needed"
)

// conf is the text of a file of deploy/spire, on its way to one that a test can use.
// A change that finds nothing to change fails the test: it is for an older file.
type conf struct {
	t    testing.TB
	name string
	text string
}

func readConf(t testing.TB, name string) *conf {
	t.Helper()
	root, err := needed.Repository()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "deploy", "spire", name))
	if err != nil {
		t.Fatal(err)
	}
	return &conf{t: t, name: name, text: string(b)}
}

// replace puts a text in the place of another, wherever that is.
func (c *conf) replace(old, text string) {
	c.t.Helper()
	if !strings.Contains(c.text, old) {
		c.t.Fatalf("deploy/spire/%s has no %q for a test to replace", c.name, old)
	}
	c.text = strings.ReplaceAll(c.text, old, text)
}

// set gives the settings of that name another value.
func (c *conf) set(key, value string) {
	c.t.Helper()
	line := regexp.MustCompile(`(?m)^( *` + key + ` = ).*$`)
	if !line.MatchString(c.text) {
		c.t.Fatalf("deploy/spire/%s has no setting %s", c.name, key)
	}
	c.text = line.ReplaceAllString(c.text, `${1}`+value)
}

// uncomment makes the optional lines from the one that begins so, at any indentation,
// to the one that closes its block, ones that count.
func (c *conf) uncomment(first string) {
	c.t.Helper()
	block := regexp.MustCompile(`(?m)^( *)#` + first + `.*\n(?: *#  .*\n)* *#}$`).FindString(c.text)
	if block == "" {
		c.t.Fatalf("deploy/spire/%s has no optional block %s", c.name, first)
	}
	c.replace(block, regexp.MustCompile(`(?m)^( *)#`).ReplaceAllString(block, "$1"))
}

func (c *conf) write(path string) {
	c.t.Helper()
	write(c.t, path, []byte(c.text))
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
