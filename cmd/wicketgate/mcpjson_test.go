package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilesOfOtherClients(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []mcpServer
		notes    []string
	}{
		{"Claude Desktop", `{"mcpServers":{"My Files":{"command":"node","args":["index.js","/srv"],"env":{"B":"2","A":"1"}}}}`,
			[]mcpServer{{Name: "my-files", Written: "My Files", Command: []string{"node", "index.js", "/srv"}, Env: []string{"A=1", "B=2"}}}, nil},
		{"Claude Code", `{"mcpServers":{"api":{"type":"http","url":"https://example.com/mcp","headers":{"Authorization":"Bearer hidden"}}}}`,
			[]mcpServer{{Name: "api", Written: "api", URL: "https://example.com/mcp", Headers: map[string]string{"Authorization": "Bearer hidden"}}}, nil},
		{"VS Code", `{"servers":{"git":{"type":"stdio","command":"git-mcp","cwd":"/srv"}},"inputs":[]}`,
			[]mcpServer{{Name: "git", Written: "git", Command: []string{"git-mcp"}, Dir: "/srv"}}, []string{`the file: not used: ["inputs"]`}},
		{"one that is disabled", `{"mcpServers":{"a":{"command":"a","disabled":true},"b":{"command":"b"}}}`,
			[]mcpServer{{Name: "b", Written: "b", Command: []string{"b"}}}, []string{"server a is disabled in the file, and left out"}},
		{"a name with a scope", `{"mcpServers":{"@org/files_2":{"command":"a"}}}`, []mcpServer{{Name: "org-files-2", Written: "@org/files_2", Command: []string{"a"}}}, nil},
	} {
		got, notes, err := readMCPJSON([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if d := cmp.Diff(c.notes, notes); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no servers", `{}`, "mcpServers"},
		{"both kinds of client", `{"mcpServers":{},"servers":{}}`, "mcpServers"},
		{"comments", "{// hidden\n}", "no comments"},
		{"a name twice", `{"mcpServers":{"a":{"command":"hidden"},"a":{"command":"b"}}}`, "no name twice"},
		{"a number in args", `{"mcpServers":{"a":{"command":"hidden","args":[1]}}}`, "mcpServers/a/args/0"},
		{"a secret where an object belongs", `{"mcpServers":{"a":{"command":"b","env":"hidden"}}}`, "mcpServers/a/env"},
		{"command and url", `{"mcpServers":{"a":{"command":"hidden","url":"http://x"}}}`, "either command or url"},
		{"a url of type stdio", `{"mcpServers":{"a":{"type":"stdio","url":"http://hidden"}}}`, "type does not go with it"},
		{"a command of type http", `{"mcpServers":{"a":{"type":"http","command":"hidden"}}}`, "type does not go with it"},
		{"the transport of 2024", `{"mcpServers":{"a":{"type":"sse","url":"http://hidden"}}}`, "not supported"},
		{"a placeholder", `{"mcpServers":{"a":{"command":"b","env":{"K":"${input:hidden}"}}}}`, "write the value out"},
		{"headers of a command", `{"mcpServers":{"a":{"command":"b","headers":{"X-Key":"hidden"}}}}`, "headers are for a url"},
		{"a bad variable", `{"mcpServers":{"a":{"command":"b","env":{"A=hidden":"c"}}}}`, "env has a name"},
		{"a name of other letters", `{"mcpServers":{"файлы":{"command":"b"}}}`, "rename it"},
		{"names that become one", `{"mcpServers":{"a b":{"command":"b"},"a-b":{"command":"b"}}}`, "would both be a-b"},
	} {
		_, _, err := readMCPJSON([]byte(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, want %s and no value", c.name, err, c.want)
		}
	}
}

// FuzzMCPJSON: a server that is read has a name that the gateway takes, and a URL or a
// command; an error has nothing of a value in it.
func FuzzMCPJSON(f *testing.F) {
	f.Add([]byte(`{"mcpServers":{"a":{"command":"b","args":["c"],"env":{"D":"e"}}}}`))
	f.Add([]byte(`{"servers":{"a":{"type":"http","url":"http://b"}},"inputs":[{}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		servers, _, err := readMCPJSON(in)
		for _, s := range servers {
			if err != nil || !namePattern.MatchString(s.Name) || (s.URL == "") == (len(s.Command) == 0) {
				t.Errorf("%q: %+v, %v", in, s, err)
			}
		}
	})
}
