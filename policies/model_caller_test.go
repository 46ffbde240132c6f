package policies_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wicketgate/wicketgate/policies"
)

// modelCaller is a question, and what access.yaml says of who asks it.
type modelCaller struct {
	doc modelDoc
	q   policies.Request
}

func (c modelCaller) person() bool { return !c.q.Workload && !c.q.Subject.Is(c.q.ClientID) }

func (c modelCaller) named(who *modelWho) bool {
	switch {
	case who == nil:
		return true
	case !c.person():
		return named(who.Clients, c.q.Subject.String())
	case slices.Contains(who.Users, c.q.Subject.String()):
		return true
	}
	for _, g := range c.q.Groups {
		if slices.Contains(who.Groups, g) {
			return true
		}
	}
	for claim, values := range who.Claims {
		if c.has(claim, values) {
			return true
		}
	}
	return false
}

func (c modelCaller) when(when map[string]oneOrMany[any]) bool {
	for claim, values := range when {
		if !c.has(claim, values) {
			return false
		}
	}
	return true
}

// has reports whether the claim is, or holds, one of the values.
func (c modelCaller) has(claim string, values []any) bool {
	has, ok := c.claims()[claim]
	return ok && slices.ContainsFunc(list(has), func(v any) bool { return oneOf(v, values) })
}

func (c modelCaller) claims() map[string]any { return members(c.q.Claims) }

// members reads an object with its numbers as they are written.
func members(b []byte) (m map[string]any) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return nil
	}
	return m
}

func oneOf(v any, values []any) bool {
	return slices.ContainsFunc(values, func(want any) bool { return same(v, want) })
}

// same compares scalars: text is no number, and 1 is 1.0.
func same(a, b any) bool {
	x, xIsNumber := rational(a)
	y, yIsNumber := rational(b)
	if xIsNumber || yIsNumber {
		return xIsNumber && yIsNumber && x.Cmp(y) == 0
	}
	switch a.(type) {
	case string, bool:
		return a == b
	}
	return false
}

func rational(v any) (*big.Rat, bool) {
	switch v.(type) {
	case int, float64, json.Number:
		return new(big.Rat).SetString(fmt.Sprint(v))
	}
	return nil, false
}

// open reports whether a window of the hours is open at the time of the question. A window
// is of a day of its zone: from its first moment to before its last, on the wall clock.
func (c modelCaller) open(hours string) bool {
	if c.q.Time.IsZero() {
		return false
	}
	for _, w := range c.doc.Hours[hours] {
		zone, err := time.LoadLocation(w.Zone)
		if err != nil {
			panic(err)
		}
		local := c.q.Time.In(zone)
		day, clock := strings.ToLower(local.Format("Mon")), local.Format("15:04")
		if (w.Days == nil || slices.Contains(w.Days, day)) && w.From <= clock && clock < w.To {
			return true
		}
	}
	return false
}

// arguments reports whether every argument is what it must be.
func (c modelCaller) arguments(constraints map[string]modelConstraint) bool {
	arguments := members(c.q.Arguments)
	for name, want := range constraints {
		v, ok := arguments[name]
		if !ok && want.Optional {
			continue
		}
		if !ok || !c.elements(v, want) {
			return false
		}
	}
	return true
}

// elements reports whether the argument holds, or of a list each and at least one element.
func (c modelCaller) elements(v any, want modelConstraint) bool {
	l, ok := v.([]any)
	if !ok {
		return c.constraint(v, want)
	}
	return len(l) > 0 && !slices.ContainsFunc(l, func(v any) bool { return !c.constraint(v, want) })
}

func (c modelCaller) constraint(v any, want modelConstraint) bool {
	text, isText := v.(string)
	number, isNumber := rational(v)
	_, isBool := v.(bool)
	switch {
	case !isText && !isNumber && !isBool:
		return false
	case want.Min != nil && (!isNumber || number.Cmp(new(big.Rat).SetFloat64(*want.Min)) < 0):
		return false
	case want.Max != nil && (!isNumber || number.Cmp(new(big.Rat).SetFloat64(*want.Max)) > 0):
		return false
	case want.Enum != nil && !oneOf(v, want.Enum):
		return false
	case want.Pattern != "" && (!isText || !regexp.MustCompile(`\A(?:`+want.Pattern+`)\z`).MatchString(text)):
		return false
	case want.MaxLength != nil && (!isText || utf8.RuneCountInString(text) > *want.MaxLength):
		return false
	case want.Domains != nil && !(isText && atDomain(text, want.Domains)):
		return false
	case want.Paths != nil && !(isText && belowPath(text, want.Paths)):
		return false
	}
	return want.Claim == "" || c.owns(want.Claim, v)
}

func (c modelCaller) owns(claim string, v any) bool {
	if claim == "sub" {
		return v == c.q.Subject.String()
	}
	return c.has(claim, []any{v})
}

// atDomain reads a URL, an e-mail address or a host name of the plain forms that the tests
// ask about; what is odd is the matter of the attack tests.
func atDomain(text string, domains []string) bool {
	host := text
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		host = u.Hostname()
	} else if _, at, ok := strings.Cut(text, "@"); ok {
		host = at
	}
	host = strings.ToLower(host)
	return slices.ContainsFunc(domains, func(d string) bool {
		parent, isParent := strings.CutPrefix(d, "*")
		return host == d || isParent && strings.HasSuffix(host, parent) && host != parent[1:]
	})
}

func belowPath(text string, paths []string) bool {
	if !plainPath.MatchString(text) {
		return false
	}
	return slices.ContainsFunc(paths, func(p string) bool {
		prefix, isPrefix := strings.CutSuffix(p, "*")
		return text == p || isPrefix && len(text) > len(prefix) && strings.HasPrefix(text, prefix)
	})
}

// plainPath is an absolute path without empty and dot segments, backslashes and escapes.
var plainPath = regexp.MustCompile(`^(/([A-Za-z0-9_-][A-Za-z0-9._-]*))+$`)
