package federation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// claims is the payload of a token, by names to the letter; no name comes twice.
type claims map[string]jsontext.Value

// text returns a claim that must be a string, empty where it is missing.
func (c claims) text(name string) (string, error) {
	v, ok := c[name]
	if !ok {
		return "", nil
	}
	var s string
	if v.Kind() != '"' || json.Unmarshal(v, &s) != nil || s == "" {
		return "", fmt.Errorf("%s is no text, or empty", name)
	}
	return s, nil
}

// one returns a claim that must be a string, or a list of exactly one.
func (c claims) one(name string) (string, error) {
	if v := c[name]; v.Kind() == '[' {
		list, err := texts(v)
		if err != nil || len(list) != 1 {
			return "", fmt.Errorf("%s is not exactly one value", name)
		}
		return list[0], nil
	}
	return c.text(name)
}

// seconds returns a NumericDate in whole seconds, zero where it is missing: what else
// RFC 7519 §2 would allow, nobody sends.
func (c claims) seconds(name string) (int64, error) {
	v, ok := c[name]
	if !ok {
		return 0, nil
	}
	var n int64
	if v.Kind() != '0' || json.Unmarshal(v, &n) != nil || n <= 0 || n > 1<<40 {
		return 0, fmt.Errorf("%s is no time in whole seconds", name)
	}
	return n, nil
}

// times checks exp, iat and nbf, of which the first two must be there.
func (c claims) times(now int64) (issued, expires int64, err error) {
	issued, err1 := c.seconds("iat")
	expires, err2 := c.seconds("exp")
	notBefore, err3 := c.seconds("nbf")
	switch {
	case err1 != nil || err2 != nil || err3 != nil:
		return 0, 0, errors.Join(err1, err2, err3)
	case issued == 0 || issued > now+skew || notBefore > now+skew:
		return 0, 0, errors.New("iat is missing, or iat or nbf in the future")
	case expires <= now || expires <= issued:
		return 0, 0, errors.New("exp is missing or past")
	}
	return issued, expires, nil
}

// audience wants exactly one value, and that among wanted.
func (c claims) audience(wanted ...string) error {
	if aud, err := c.one("aud"); err != nil || !slices.Contains(wanted, aud) {
		return errors.Join(errors.New("aud is not the configured one alone"), err)
	}
	return nil
}

// id returns the jti, which must be there.
func (c claims) id() (string, error) {
	id, err := c.text("jti")
	if err == nil && (id == "" || len(id) > maxID) {
		err = errors.New("jti is missing or too long")
	}
	return id, err
}

// none refuses claims that restrict or change what a token says and that nothing here
// would honour.
func (c claims) none(names ...string) error {
	for _, n := range names {
		if _, ok := c[n]; ok {
			return fmt.Errorf("%s cannot be honoured here", n)
		}
	}
	return nil
}

// lookup finds a claim by its name, or by a path of names with dots between them; the
// names themselves may have dots, as kubernetes.io.namespace.
func (c claims) lookup(path string) (jsontext.Value, bool) {
	if v, ok := c[path]; ok {
		return v, v.Kind() != 'n'
	}
	for i := range len(path) {
		if path[i] != '.' || c[path[:i]].Kind() != '{' {
			continue
		}
		var inner claims
		if json.Unmarshal(c[path[:i]], &inner) == nil {
			if v, ok := inner.lookup(path[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// elsewhere refuses a token that says where a wanted claim is instead of what it is
// (OpenID Connect Core §5.6.2), as for a person in too many groups: they would be in
// none.
func (c claims) elsewhere(wanted ...string) error {
	v, ok := c["_claim_names"]
	if !ok {
		return nil
	}
	var names map[string]jsontext.Value
	if err := json.Unmarshal(v, &names); err != nil {
		return errors.New("_claim_names is no object")
	}
	for name := range names {
		if slices.ContainsFunc(wanted, func(w string) bool { return w == name || strings.HasPrefix(w, name+".") }) {
			return fmt.Errorf("it refers to %s instead of saying it", name)
		}
	}
	return nil
}

// texts reads a list of strings, none of which is null.
func texts(v jsontext.Value) ([]string, error) {
	var list []jsontext.Value
	if err := json.Unmarshal(v, &list); err != nil {
		return nil, errors.New("no list")
	}
	out := make([]string, len(list))
	for i, item := range list {
		if item.Kind() != '"' || json.Unmarshal(item, &out[i]) != nil {
			return nil, errors.New("a list of something else than texts")
		}
	}
	return out, nil
}
