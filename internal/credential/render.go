package credential

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MinSecret is how many bytes a secret has at least: a shorter one cannot be told from
// ordinary text where it has to be taken out of it.
const MinSecret = 8

// public are the names, in what Vault's engines answer, of values that are no secret. The
// values of all others are.
var public = map[string]bool{
	"username": true, "certificate": true, "issuing_ca": true, "ca_chain": true, "serial_number": true, "expiration": true, "private_key_type": true,
	"ttl": true, "last_vault_rotation": true, "rotation_period": true, "rotation_schedule": true, "rotation_window": true,
}

// Render puts the values of a secret where they go. Errors name the place and the name in
// the secret, never a value. The Credential has no life yet: see Live.
func (t *Template) Render(values map[string]string) (Credential, error) {
	if err := t.checkSecrets(values); err != nil {
		return Credential{}, err
	}
	r := renderer{values: values}
	c := Credential{header: http.Header{}, query: url.Values{}}
	for _, p := range t.header {
		c.header.Set(p.name, r.line("header", p))
	}
	for _, p := range t.query {
		c.query.Set(p.name, r.line("query", p))
	}
	for _, p := range t.env {
		c.env = append(c.env, p.name+"="+r.line("env", p))
	}
	for _, f := range t.files {
		c.files = append(c.files, File{f.env, f.name, []byte(r.text("files", f.name, f.text))})
	}
	if t.basic != nil {
		c.header.Set("Authorization", r.basic(t.basic))
	}
	if t.certificate {
		c.certificate = r.certificate()
	}
	if r.err != nil {
		return Credential{}, r.err
	}
	if c.secrets = t.secrets(values, r.made); size(c.secrets) > maxSecrets {
		return Credential{}, fmt.Errorf("the secret has more than %d bytes, too much to look for in what the server answers", maxSecrets)
	}
	return c, nil
}

// maxSecrets bounds what every answer is searched for, in bytes.
const maxSecrets = 64 << 10

func size(all []string) (n int) {
	for _, s := range all {
		n += len(s)
	}
	return n
}

// uses are the names of the secret that go to the server.
func (t *Template) uses() []string {
	var names []string
	for _, p := range slices.Concat(t.header, t.query, t.env) {
		names = append(names, p.text.names()...)
	}
	for _, f := range t.files {
		names = append(names, f.text.names()...)
	}
	if t.basic != nil {
		names = append(append(names, t.basic.username.names()...), t.basic.password.names()...)
	}
	if t.certificate {
		names = append(names, "private_key")
	}
	return names
}

// checkSecrets refuses what could not be found again in what the server says. What is short
// and goes nowhere does not matter.
func (t *Template) checkSecrets(values map[string]string) error {
	for _, name := range t.uses() {
		if v, ok := values[name]; ok && !public[name] && len(v) < MinSecret {
			return fmt.Errorf("%q of the secret has less than %d bytes, and could not be told from ordinary text in what the server answers: use a longer one, or write it into the template if it is no secret", name, MinSecret)
		}
	}
	return nil
}

// secrets are the values, used or not, and what the templates made of them. Of one with
// lines each line counts: a key in PEM is printed with indents, or in one line.
func (t *Template) secrets(values map[string]string, made []string) []string {
	for name, v := range values {
		if !public[name] {
			made = append(made, v)
		}
	}
	var all []string
	for _, v := range made {
		all = append(all, v)
		if strings.Contains(v, "\n") {
			all = append(all, lines(v)...)
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < MinSecret })
	slices.Sort(all)
	return slices.Compact(all)
}

// minLine is how long a line of a secret has to be to tell something.
const minLine = 16

func lines(s string) []string {
	var all []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); len(line) >= minLine && !strings.HasPrefix(line, "-----") {
			all = append(all, line)
		}
	}
	return all
}

// renderer keeps the first error, and what is secret of what it made.
type renderer struct {
	values map[string]string
	made   []string
	err    error
}

func (r *renderer) fail(kind, name string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("inject %s %q: %w", kind, name, err)
	}
}

func (r *renderer) text(kind, name string, t text) string {
	s, made, err := t.render(r.values)
	if err != nil {
		r.fail(kind, name, err)
	}
	r.made = append(r.made, made...)
	return s
}

// line is text for where a line break would begin something else.
func (r *renderer) line(kind string, p place) string {
	s := r.text(kind, p.name, p.text)
	if !clean(s) {
		r.fail(kind, p.name, fmt.Errorf("of %v a value has a control character (a line break at its end?) or is not UTF-8: write the secret without, or use files", p.text.names()))
		return ""
	}
	return s
}

// clean reports whether s is one line of text.
func clean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// basic is RFC 7617 §2: the user name has no colon.
func (r *renderer) basic(b *basic) string {
	username, password := r.line("basic", place{"username", b.username}), r.line("basic", place{"password", b.password})
	if strings.Contains(username, ":") {
		r.fail("basic", "username", errors.New("it has a colon, which HTTP Basic does not allow"))
		return ""
	}
	pair := base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
	r.made = append(r.made, pair)
	return "Basic " + pair
}

// certificate is what the PKI engine answers, or a secret with the same names.
func (r *renderer) certificate() *tls.Certificate {
	for _, name := range []string{"certificate", "private_key"} {
		if r.values[name] == "" {
			r.fail("client_certificate", name, fmt.Errorf("the secret has no %q, but %s", name, namesOf(r.values)))
			return nil
		}
	}
	chain := r.values["certificate"] + "\n" + r.values["ca_chain"]
	c, err := tls.X509KeyPair([]byte(chain), []byte(r.values["private_key"]))
	if err != nil {
		r.fail("client_certificate", "certificate", errors.New("certificate, ca_chain and private_key are no pair in PEM")) // err may quote
		return nil
	}
	return &c
}
