package credential

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Template is a compiled Injection.
type Template struct {
	header, query, env []place
	basic              *basic
	files              []file
	certificate        bool
}

// place is a value with the name of where it goes.
type place struct {
	name string
	text text
}

type basic struct{ username, password text }

type file struct {
	env  string
	name string
	text text
}

// Compile reads an Injection: the places and the templates. That the secret has the names
// in them is known only when it is read.
func Compile(in Injection) (*Template, error) {
	t := &Template{certificate: in.ClientCertificate}
	var errs [5]error
	t.header, errs[0] = places("header", in.Header, headerName)
	t.query, errs[1] = places("query", in.Query, queryName)
	t.env, errs[2] = places("env", in.Env, envName)
	errs[3] = t.compileBasic(in.Basic)
	errs[4] = t.compileFiles(in.Files)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if len(t.header)+len(t.query)+len(t.env)+len(t.files) == 0 && t.basic == nil && !t.certificate {
		return nil, errors.New("no place is named: write header, basic, query, client_certificate, env or files")
	}
	return t, nil
}

// Env are the variables that are set, those of files too.
func (t *Template) Env() []string {
	var names []string
	for _, p := range t.env {
		names = append(names, p.name)
	}
	for _, f := range t.files {
		names = append(names, f.env)
	}
	return names
}

func places(kind string, fields []Field, check func(string) (string, error)) ([]place, error) {
	var all []place
	for _, f := range fields {
		name, err := check(f.Name)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", kind, f.Name, err)
		}
		if slices.ContainsFunc(all, func(p place) bool { return p.name == name }) {
			return nil, fmt.Errorf("%s %q: it is named twice: name it once", kind, f.Name)
		}
		text, err := compile(f.Value)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", kind, f.Name, err)
		}
		all = append(all, place{name, text})
	}
	return all, nil
}

func (t *Template) compileBasic(in *Basic) error {
	if in == nil {
		return nil
	}
	if slices.ContainsFunc(t.header, func(p place) bool { return p.name == "Authorization" }) {
		return errors.New("basic and header Authorization are one place: write one of them")
	}
	username, err1 := compile(in.Username)
	password, err2 := compile(in.Password)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("basic: %w", err)
	}
	t.basic = &basic{username, password}
	return nil
}

func (t *Template) compileFiles(in []FileField) error {
	for _, f := range in {
		env, err := envName(f.Env)
		if err != nil {
			return fmt.Errorf("files: env %q: %w", f.Env, err)
		}
		if !fileName().MatchString(f.Name) {
			return fmt.Errorf("files: name %q: want letters, digits, dot, dash and underscore, at most 64, no dot first", f.Name)
		}
		if slices.Contains(t.Env(), env) || slices.ContainsFunc(t.files, func(other file) bool { return other.name == f.Name }) {
			return fmt.Errorf("files: %q in %s: the variable or the file is named twice: name it once", f.Name, f.Env)
		}
		text, err := compile(f.Content)
		if err != nil {
			return fmt.Errorf("files: %q: %w", f.Name, err)
		}
		t.files = append(t.files, file{env, f.Name, text})
	}
	return nil
}

var (
	tokenName    = lazily("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$") // RFC 9110 §5.6.2
	variableName = lazily(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	fileName     = lazily(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)
)

// lazily compiles an expression when it is first wanted, and not in each process that only
// becomes a command.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// refusedHeaders frame the message, belong to one connection (RFC 9110 §7.6.1), or say what
// the gateway and MCP say. Cookie is none of them: nothing of ours sets one, and there are
// servers that take their key from there. Authorization is where most take it from.
var refusedHeaders = []string{"Host", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Accept", "Accept-Encoding", "Last-Event-Id", "Origin",
	"Traceparent", "Tracestate", "Baggage"}

func headerName(s string) (string, error) {
	if !tokenName().MatchString(s) {
		return "", errors.New("it is no name of a header")
	}
	name := textproto.CanonicalMIMEHeaderKey(s)
	if slices.Contains(refusedHeaders, name) || strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "Mcp-") {
		return "", errors.New("the header belongs to HTTP or MCP itself: use one that the server reads a key from, such as Authorization or X-Api-Key")
	}
	return name, nil
}

func queryName(s string) (string, error) {
	if s == "" || len(s) > 128 || !clean(s) {
		return "", errors.New("it is no name of a parameter")
	}
	return s, nil
}

// Variables that say what runs, or where it looks for what it runs: whoever may write a key
// into Vault would run programs as the server.
var (
	refusedVariables = []string{"PATH", "HOME", "TMPDIR", "TMP", "TEMP", "PWD", "SHELL", "IFS", "ENV", "BASH_ENV", "CDPATH", "PS4", "PROMPT_COMMAND",
		"CLASSPATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "EDITOR", "VISUAL", "PAGER"}
	refusedPrefixes = []string{"LD_", "DYLD_", "MALLOC_", "GLIBC_", "GCONV_", "BASH_FUNC_", "NODE_", "NPM_", "PYTHON", "PERL", "RUBY", "GEM_", "LUA_", "PHP", "GIT_", "DOTNET_", "COR_", "CORECLR_", "WICKETGATE_"}
)

func envName(s string) (string, error) {
	if !variableName().MatchString(s) {
		return "", errors.New("it is no name of a variable: want letters, digits and underscore")
	}
	upper := strings.ToUpper(s)
	if slices.Contains(refusedVariables, upper) || slices.ContainsFunc(refusedPrefixes, func(p string) bool { return strings.HasPrefix(upper, p) }) {
		return "", errors.New("the variable says what programs run or where they look for files: a secret has no place there")
	}
	return s, nil
}
