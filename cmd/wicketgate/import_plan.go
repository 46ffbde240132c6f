package main

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/wicketgate/wicketgate/internal/redact"
)

// importPlan is what wicketgate import would do.
type importPlan struct {
	flags    importFlags
	settings *settings
	file     []byte
	servers  []importedServer
	notes    []string

	mount, below string // of the keys in Vault

	config, access, rewritten []byte // of the files; nil: they stay
}

// importedServer is a server that moves.
type importedServer struct {
	mcpServer
	plain []string // of its environment, NAME=VALUE: no keys
	keys  []importedKey

	literal []string // names of headers that are no keys
}

// importedKey goes to Vault.
type importedKey struct {
	field  string // in the secret
	value  string
	env    string // where the server takes it: a variable,
	header string // or a header, behind the prefix
	prefix string
}

var kvPath = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)

// add plans for a server, or notes why it stays.
func (p *importPlan) add(s mcpServer) {
	if why := p.unmovable(s); why != "" {
		p.notes = append(p.notes, fmt.Sprintf("server %s stays as it is: %s", s.Name, why))
		return
	}
	out := importedServer{mcpServer: s}
	for _, e := range s.Env {
		name, value, _ := strings.Cut(e, "=")
		if !isKey(name, value) {
			out.plain = append(out.plain, e)
			continue
		}
		out.keys = append(out.keys, importedKey{field: name, value: value, env: name})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if value := s.Headers[name]; isKey(name, value) {
			out.keys = append(out.keys, out.distinct(headerKey(name, value)))
		} else {
			out.literal = append(out.literal, name)
		}
	}
	p.servers = append(p.servers, out)
}

// unmovable is why a server stays.
func (p *importPlan) unmovable(s mcpServer) string {
	if strings.HasPrefix(s.URL, p.settings.Issuer+"/") {
		return "it is behind this gateway already"
	}
	if len(s.Command) > 0 && fetches(s.Command[0]) != "" {
		return s.Command[0] + " does not work in the sandbox: install the server, name its program in the file, and run this again"
	}
	for i, argument := range s.Command {
		if isKey("", argument) {
			return fmt.Sprintf("argument %d of its command holds a key, which everybody on the machine can read: give it to the server by its environment, if it takes it from there", i)
		}
	}
	if u, err := url.Parse(s.URL); err != nil || u.User != nil || u.RawQuery != "" && isKey("", s.URL) || s.URL != "" && hasKey(u) {
		return "its URL holds a key, which ends up in logs: send it in a header, if the server takes it there"
	}
	values := maps.Clone(s.Headers)
	if values == nil {
		values = map[string]string{}
	}
	if len(values) > 0 && !anyKey(values) {
		return "it wants headers that hold no key, and the gateway sends none of those by themselves"
	}
	for _, e := range s.Env {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if value := values[name]; isKey(name, value) && len(headerKey(name, value).value) < shortestKey {
			return fmt.Sprintf("%s is shorter than %d characters, which cannot be kept out of answers", name, shortestKey)
		}
	}
	return ""
}

func anyKey(values map[string]string) bool {
	for name, value := range values {
		if isKey(name, value) {
			return true
		}
	}
	return false
}

// shortestKey is the shortest secret of a server that can be masked, bytes.
const shortestKey = 8

func hasKey(u *url.URL) bool {
	for name, values := range u.Query() {
		if slices.ContainsFunc(values, func(v string) bool { return isKey(name, v) }) {
			return true
		}
	}
	return false
}

// schemes of authentication are no secrets. Whatever else is before a space is part of the key.
var schemes = regexp.MustCompile(`(?i)^(basic|bearer|token|apikey|api-key|key|oauth)$`)

// headerKey is a header, of which the scheme of authentication is no secret.
func headerKey(name, value string) importedKey {
	k := importedKey{field: fieldOf(name), value: value, header: name}
	if scheme, rest, ok := strings.Cut(value, " "); ok && strings.EqualFold(name, "Authorization") && schemes.MatchString(scheme) {
		k.prefix, k.value = scheme+" ", strings.TrimSpace(rest)
	}
	return k
}

// distinct is the key in a field that no other one of the server has.
func (s importedServer) distinct(k importedKey) importedKey {
	for n, first := 2, k.field; slices.ContainsFunc(s.keys, func(other importedKey) bool { return other.field == k.field }); n++ {
		k.field = fmt.Sprintf("%s_%d", first, n)
	}
	return k
}

var notInField = regexp.MustCompile(`[^a-z0-9_]+`)

// fieldOf is a name that a template can name.
func fieldOf(header string) string {
	return "key_" + strings.Trim(notInField.ReplaceAllString(strings.ToLower(header), "_"), "_")
}

var (
	keyName  = regexp.MustCompile(`(?i)(^|_|-)(api_?key|key|token|pat|secret|pass(word|wd|phrase)?|pwd|credentials?|auth|authorization|dsn|bearer|cookie)($|_|-)|apikey|connection_?string|database_url`)
	userInfo = regexp.MustCompile(`[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@`)
)

// isKey reports whether a value is a secret, as far as its name and form tell.
func isKey(name, value string) bool {
	if value == "" {
		return false
	}
	return keyName.MatchString(name) || userInfo.MatchString(value) || (*redact.Redactor)(nil).Text(value) != value
}

func (p *importPlan) needsVault() bool {
	return slices.ContainsFunc(p.servers, func(s importedServer) bool { return len(s.keys) > 0 })
}

// path of a server's keys: of the API, as wicketgate.yaml has it.
func (p *importPlan) path(s importedServer) string {
	return p.mount + "/data/" + p.below + "/" + s.Name
}

func (p *importPlan) accessPath() string { return p.settings.house.Access }

func realPath(path string) (string, error) { return filepath.EvalSymlinks(path) }
