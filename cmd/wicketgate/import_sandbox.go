package main

import (
	"cmp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// sandbox is the least with which it may work as before: its own code, and the way to what
// its variables name, or where it has a key for somebody who is not named, by https.
func (p *importPlan) sandbox(s importedServer) string {
	out := struct {
		Connect []string `json:"connect,omitempty"`
		Read    []string `json:"read,omitempty"`
	}{s.ports(), p.code(s)}
	if len(out.Connect) == 0 && len(s.keys) > 0 {
		out.Connect = []string{"443"}
	}
	if len(out.Connect) > 0 {
		out.Connect = append([]string{"53"}, out.Connect...)
	}
	return quoted(out)
}

// wellKnownPorts are the ports of URLs that have none.
var wellKnownPorts = map[string]string{"http": "80", "https": "443", "postgres": "5432", "postgresql": "5432", "mysql": "3306", "redis": "6379", "rediss": "6379", "mongodb": "27017", "amqp": "5672", "amqps": "5671"}

// ports are those of the URLs among its variables.
func (s importedServer) ports() (out []string) {
	for _, e := range s.Env {
		_, value, _ := strings.Cut(e, "=")
		u, err := url.Parse(value)
		if err != nil || u.Hostname() == "" {
			continue
		}
		if port := cmp.Or(u.Port(), wellKnownPorts[u.Scheme]); port != "" && !slices.Contains(out, port) {
			out = append(out, port)
		}
	}
	return out
}

// code is what the command names that is no part of the system: a program, and the folders
// of other files, unless there is something of ours in them.
func (p *importPlan) code(s importedServer) (out []string) {
	for i, word := range s.Command {
		if path, err := exec.LookPath(word); i == 0 && err == nil {
			word = path
		}
		info, err := os.Stat(word)
		if err != nil || !filepath.IsAbs(word) || strings.HasPrefix(word, "/usr/") || strings.HasPrefix(word, "/bin/") {
			continue
		}
		if folder := filepath.Dir(word); i > 0 && !info.IsDir() && !p.holdsOurs(folder) {
			word = folder
		}
		if !p.holdsOurs(word) && !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// holdsOurs reports whether the configuration or the data folder is below.
func (p *importPlan) holdsOurs(folder string) bool {
	for _, ours := range []string{p.flags.config, p.settings.house.Data} {
		path, err := filepath.Abs(ours)
		if rest, relErr := filepath.Rel(folder, path); err != nil || relErr != nil || rest != ".." && !strings.HasPrefix(rest, "../") {
			return true
		}
	}
	return false
}
