package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"github.com/wicketgate/wicketgate/policies"
)

// newConfig is wicketgate.yaml with the servers, checked as serve would.
func (p *importPlan) newConfig(ctx context.Context) ([]byte, error) {
	b, err := os.ReadFile(p.flags.config)
	if err != nil {
		return nil, err
	}
	var entries []string
	for _, s := range p.servers {
		known := slices.IndexFunc(p.settings.Servers, func(c ServerConfig) bool { return c.Name == s.Name })
		if known < 0 {
			entries = append(entries, p.entry(s))
		} else if !p.imported(p.settings.Servers[known], s) {
			return nil, fmt.Errorf("%s has a server %s already: rename one", p.flags.config, s.Name)
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	if b, err = insert(b, "servers", "- ", entries); err != nil {
		return nil, fmt.Errorf("%s: %w", p.flags.config, err)
	}
	return b, p.checkConfig(ctx, b)
}

// imported reports whether a run before has put the server there.
func (p *importPlan) imported(was ServerConfig, s importedServer) bool {
	path := ""
	if was.Vault != nil {
		path = was.Vault.Path
	}
	want := p.path(s)
	if len(s.keys) == 0 {
		want = ""
	}
	return was.URL == s.URL && slices.Equal(was.Command, s.Command) && path == want
}

// checkConfig reads the text as wicketgate.yaml, in its folder: its files are relative.
func (p *importPlan) checkConfig(ctx context.Context, text []byte) error {
	c := configCheck{&document{file: p.flags.config + " with the servers"}, filepath.Dir(p.flags.config), roleAny, &settings{}}
	c.read(text, &c.s.Config)
	if c.nodes[""] != nil {
		c.check(ctx)
	}
	if err := c.err(); err != nil {
		return &configError{err}
	}
	return nil
}

// entry is the server in wicketgate.yaml, without indentation.
func (p *importPlan) entry(s importedServer) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("name: %s", s.Name)
	if s.URL != "" {
		line("url: %s", quoted(s.URL))
	} else {
		line("command: %s", quoted(s.Command))
		line("sandbox: %s # what it may do besides reading the system: change it to what it needs", p.sandbox(s))
	}
	if s.Dir != "" {
		line("dir: %s", quoted(s.Dir))
	}
	if len(s.plain) > 0 {
		line("env:")
	}
	for _, e := range s.plain {
		name, value, _ := strings.Cut(e, "=")
		line("  - {name: %s, value: %s}", quoted(name), quoted(value))
	}
	if len(s.keys) == 0 {
		return b.String()
	}
	line("credential: vault")
	line("vault:")
	line("  engine: kv")
	line("  path: %s", p.path(s))
	if p.settings.house.Vault.Login.Method == loginJWT {
		line("  role: %s", vaultName(s.Name))
	} else {
		line("  token_role: %s", vaultName(s.Name))
	}
	if s.URL != "" {
		line("  messages: all # it had its key with every message before")
	} else {
		line("  per: session # a process for each session, as it was")
	}
	line("  inject:")
	for _, l := range s.injection() {
		line("    %s", l)
	}
	return b.String()
}

// injection puts the keys where the server had them.
func (s importedServer) injection() (lines []string) {
	if s.URL != "" {
		lines = append(lines, "header:")
	} else {
		lines = append(lines, "env:")
	}
	for _, name := range s.literal {
		lines = append(lines, fmt.Sprintf("  - {name: %s, value: %s}", quoted(name), quoted(strings.ReplaceAll(s.Headers[name], "{{", `{{"{{"}}`))))
	}
	for _, k := range s.keys {
		lines = append(lines, fmt.Sprintf("  - {name: %s, value: %s}", quoted(k.env+k.header), quoted(k.prefix+"{{."+k.field+"}}")))
	}
	return lines
}

// vaultName is that of the policy and role of a server in Vault, which is none of those that
// deploy/vault makes, however the server is called.
func vaultName(server string) string { return "wicketgate-imported-" + server }

// quoted is a value as JSON, which YAML reads as well.
func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return `""` // never: strings that were read from JSON
	}
	return string(b)
}

// newAccess is access.yaml with a role for who may call the servers; nil: it stays.
func (p *importPlan) newAccess(ctx context.Context) ([]byte, error) {
	path := p.accessPath()
	if p.flags.allow == "" {
		return nil, nil
	}
	if path == "" {
		return nil, errors.New("--allow: policy is not in an access.yaml here: grant the servers where it is")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	known := rolesOf(b)
	var entries []string
	for _, s := range p.servers {
		if !slices.Contains(known, s.role()) { // else by a run before
			entries = append(entries, fmt.Sprintf("%s:\n  who: {%s: [%s]}\n  servers:\n    %s: {tools: [\"*\"], resources: [\"*\"], prompts: [\"*\"]}\n", s.role(), p.kind(), quoted(p.flags.allow), s.Name))
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	if b, err = insert(b, "roles", "", entries); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	_, err = policies.New(ctx, policies.Config{Access: b, Name: path + " with the role"})
	return b, err
}

// kind is what --allow names, in the words of access.yaml: no person has the name of a client.
func (p *importPlan) kind() string {
	if slices.ContainsFunc(p.settings.Clients, func(c ClientConfig) bool { return c.ID == p.flags.allow }) {
		return "clients"
	}
	return "users"
}

// role is that of access.yaml for the server.
func (s importedServer) role() string { return "imported-" + s.Name }

// rolesOf are those that an access.yaml has.
func rolesOf(b []byte) (names []string) {
	var f struct {
		Roles map[string]yaml.Node `yaml:"roles"`
	}
	if yaml.Unmarshal(b, &f) != nil {
		return nil // what is wrong with it is said elsewhere
	}
	for name := range f.Roles {
		names = append(names, name)
	}
	return names
}

// insert puts entries first into a list or mapping at the top of a document, and leaves
// every other line of it as it is. mark begins an entry.
func insert(b []byte, key, mark string, entries []string) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil || len(root.Content) == 0 {
		return nil, errors.Join(errors.New("it is no YAML"), err)
	}
	at, indent, err := place(root.Content[0], key)
	if err != nil {
		return nil, err
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	var out bytes.Buffer
	if at == 0 { // there is none
		out.Write(b)
		if !bytes.HasSuffix(b, []byte("\n")) {
			out.WriteByte('\n')
		}
		out.WriteString(key + ":\n")
		lines = nil
	}
	for i, l := range lines {
		if out.Write(l); i+1 == at {
			writeEntries(&out, indent, mark, entries)
		}
	}
	if at == 0 {
		writeEntries(&out, indent, mark, entries)
	}
	return out.Bytes(), nil
}

func writeEntries(out *bytes.Buffer, indent int, mark string, entries []string) {
	for _, e := range entries {
		for i, l := range strings.Split(strings.TrimRight(e, "\n"), "\n") {
			begin := mark
			if i > 0 {
				begin = strings.Repeat(" ", len(mark))
			}
			fmt.Fprintf(out, "%s%s%s\n", strings.Repeat(" ", indent), begin, l)
		}
	}
}

// place is the line of the key after which entries go, 0 if it is missing, and their
// indentation.
func place(root *yaml.Node, key string) (line, indent int, err error) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if k.Value != key {
			continue
		}
		if v.Style&yaml.FlowStyle != 0 || len(v.Content) == 0 {
			return 0, 0, fmt.Errorf("line %d: write %s with an entry on each line, not in braces or brackets", k.Line, key)
		}
		indent = v.Content[0].Column - 1
		if v.Kind == yaml.SequenceNode {
			indent = v.Column - 1
		}
		return k.Line, indent, nil
	}
	return 0, 2, nil
}
