package vaultbridge

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// placeholder is the only template in a path and a request: it is the subject of the call.
const placeholder = "{{.subject}}"

// plainSubject has no slash, which would lead elsewhere, no comma, which would begin
// another name in a certificate, and nothing else that Vault might read as more than a name.
//
// It is compiled when it is first wanted, and not in each process that only becomes a command.
var plainSubject = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9@._+-]{1,128}$`) })

// fill puts the subject in. One that is not plain is refused, rather than written in a way
// that another one could have too.
func fill(template string, subject identity.Subject) (string, error) {
	name := subject.String()
	if !strings.Contains(template, placeholder) {
		return template, nil
	}
	if !plainSubject().MatchString(name) || strings.Trim(name, ".") == "" {
		return "", &Failure{BadSubject, "fill in " + template, errors.New("the subject has other characters than A-Z, a-z, 0-9, @, ., _, + and -, or more than 128, or only dots")}
	}
	return strings.ReplaceAll(template, placeholder, name), nil
}

// between is what the API path of an engine has between mount and name.
var between = map[Engine]string{KV: "data", Database: "creds", DatabaseStatic: "static-creds", PKI: "issue"}

// CheckPath says what the engine cannot do with the path.
func (s Server) CheckPath() error {
	segments := strings.Split(s.Path, "/")
	switch middle, known := between[s.Engine]; {
	case !known && s.Engine != Generic:
		return fmt.Errorf("engine %q: want database, database-static, kv, pki or lease", s.Engine)
	case strings.Contains(strings.ReplaceAll(s.Path, placeholder, ""), "{{"):
		return fmt.Errorf("path %q: the only template in it is %s", s.Path, placeholder)
	case slices.ContainsFunc(segments, func(s string) bool { return s == "" || s == "." || s == ".." }):
		return fmt.Errorf("path %q: empty segments, . and .. lead elsewhere: write MOUNT/…/NAME", s.Path)
	case known && (len(segments) < 3 || !slices.Contains(segments[1:len(segments)-1], middle)):
		return fmt.Errorf("path %q: engine %s wants the path of Vault's API, MOUNT/%s/NAME", s.Path, s.Engine, middle)
	}
	return nil
}

// checkEngine is check for what an engine takes.
func (s Server) checkEngine() error {
	if err := s.CheckPath(); err != nil {
		return err
	}
	switch {
	case s.Version != 0 && s.Engine != KV, s.Version < 0:
		return fmt.Errorf("version %d: only secrets of engine kv have one, and it is positive", s.Version)
	case len(s.Request) > 0 && s.Engine != PKI && s.Engine != Generic:
		return fmt.Errorf("request: engine %s is only read", s.Engine)
	case s.Inject == nil:
		return errors.New("it is not said where the credential goes")
	}
	for name, value := range s.Request {
		if strings.Contains(strings.ReplaceAll(value, placeholder, ""), "{{") {
			return fmt.Errorf("request %s: the only template in it is %s", name, placeholder)
		}
	}
	return nil
}
