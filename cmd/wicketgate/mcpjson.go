package main

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// mcpServer is a server in the file of another client: a URL or a command.
type mcpServer struct {
	Name    string
	Written string // its name in the file
	URL     string
	Headers map[string]string
	Command []string
	Env     []string
	Dir     string
}

// mcpFile is the file as Claude Desktop, Claude Code and Cursor write it (mcpServers)
// or VS Code (servers).
type mcpFile struct {
	MCPServers map[string]mcpEntry       `json:"mcpServers"`
	Servers    map[string]mcpEntry       `json:"servers"`
	Rest       map[string]jsontext.Value `json:",embed"`
}

type mcpEntry struct {
	Type     string                    `json:"type"`
	Command  string                    `json:"command"`
	Args     []string                  `json:"args"`
	Env      map[string]string         `json:"env"`
	Dir      string                    `json:"cwd"`
	URL      string                    `json:"url"`
	Headers  map[string]string         `json:"headers"`
	Disabled bool                      `json:"disabled"`
	Rest     map[string]jsontext.Value `json:",embed"`
}

// readMCPJSON reads the servers, in the order of their names, and notes what it does
// not use. Neither has a value of the file in it: there are secrets among them.
func readMCPJSON(b []byte) (servers []mcpServer, notes []string, err error) {
	var f mcpFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, nil, withoutValues(err)
	}
	if (f.MCPServers == nil) == (f.Servers == nil) {
		return nil, nil, errors.New(`want one object "mcpServers" (or "servers", as in VS Code) with a member for each server`)
	}
	entries := f.MCPServers
	if entries == nil {
		entries = f.Servers
	}
	notes = unused("the file", f.Rest)
	taken := map[string]string{}
	for _, written := range slices.Sorted(maps.Keys(entries)) {
		e := entries[written]
		if e.Disabled {
			notes = append(notes, fmt.Sprintf("server %s is disabled in the file, and left out", written))
			continue
		}
		s, err := e.server(written)
		if err != nil {
			return nil, nil, fmt.Errorf("server %+q: %w", written, err)
		}
		if other, ok := taken[s.Name]; ok {
			return nil, nil, fmt.Errorf("servers %+q and %+q would both be %s: rename one", other, written, s.Name)
		}
		taken[s.Name] = written
		servers, notes = append(servers, s), append(notes, unused("server "+s.Name, e.Rest)...)
	}
	return servers, notes, nil
}

// withoutValues is the error without what is in the file.
func withoutValues(err error) error {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		return fmt.Errorf("%s is not of the kind that belongs there", jsonPlace(semantic.JSONPointer))
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return fmt.Errorf("no strict JSON at byte %d (no comments, no trailing commas, no name twice)", syntactic.ByteOffset)
	}
	return errors.New("no JSON")
}

func jsonPlace(p jsontext.Pointer) string {
	if p == "" {
		return "the file"
	}
	return fmt.Sprintf("%+q", string(p))
}

func unused(where string, rest map[string]jsontext.Value) []string {
	if len(rest) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: not used: %+q", where, slices.Sorted(maps.Keys(rest)))}
}

func (e mcpEntry) server(written string) (mcpServer, error) {
	name, err := serverNameOf(written)
	if err != nil {
		return mcpServer{}, err
	}
	if err := e.check(); err != nil {
		return mcpServer{}, err
	}
	s := mcpServer{Name: name, Written: written, URL: e.URL, Headers: e.Headers, Dir: e.Dir}
	if e.URL != "" {
		return s, nil
	}
	s.Command = append([]string{e.Command}, e.Args...)
	for _, k := range slices.Sorted(maps.Keys(e.Env)) {
		s.Env = append(s.Env, k+"="+e.Env[k])
	}
	return s, nil
}

func (e mcpEntry) check() error {
	values := append([]string{e.Command, e.URL, e.Dir}, e.Args...)
	values = slices.AppendSeq(slices.AppendSeq(values, maps.Values(e.Env)), maps.Values(e.Headers))
	switch {
	case (e.URL == "") == (e.Command == ""):
		return errors.New("want either command or url")
	case e.URL != "" && (len(e.Args) > 0 || len(e.Env) > 0 || e.Dir != ""):
		return errors.New("args, env and cwd are for a command, not for a url")
	case e.URL == "" && len(e.Headers) > 0:
		return errors.New("headers are for a url, not for a command")
	case e.Type == "sse":
		return errors.New("type sse is the transport of 2024, which is not supported: want stdio or http")
	case e.Type != "" && (e.URL == "") != (e.Type == "stdio"), e.URL != "" && !slices.Contains([]string{"", "http", "streamable-http", "streamableHttp"}, e.Type):
		return errors.New("type does not go with it: stdio has a command, http a url")
	case slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "${") }):
		return errors.New("there is a ${…} in it, which nobody fills in here: write the value out")
	case slices.ContainsFunc(slices.Collect(maps.Keys(e.Env)), func(k string) bool { return k == "" || strings.ContainsAny(k, "=\x00") }):
		return errors.New("env has a name that is none")
	}
	return nil
}

var (
	namePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	nameSeparator = regexp.MustCompile(`[ _./@-]+`)
)

// serverNameOf is a name as it can be in a URL and in access.yaml.
func serverNameOf(written string) (string, error) {
	name := strings.Trim(nameSeparator.ReplaceAllString(strings.ToLower(written), "-"), "-")
	if !namePattern.MatchString(name) {
		return "", errors.New("the name must be 1 to 63 of a-z 0-9 -, beginning with a letter or digit: rename it in the file, for example to files")
	}
	return name, nil
}
