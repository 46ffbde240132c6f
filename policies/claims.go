package policies

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// claimKey is a claim with one value, as access.rego looks it up: department="finance".
// That is unambiguous, because in JSON text no quote stands after an equals sign.
func claimKey(claim string, value any) string {
	switch v := value.(type) {
	case string:
		b, err := json.Marshal(v)
		if err != nil { // no UTF-8, which no token has
			return ""
		}
		return claim + "=" + string(b)
	case number:
		return claim + "=" + canonicalNumber(string(v))
	}
	return fmt.Sprint(claim, "=", value)
}

// canonicalNumber is one spelling of a JSON number: digits without zeros at either end, and
// the power of ten that they are multiplied by.
func canonicalNumber(n string) string {
	sign := ""
	if strings.HasPrefix(n, "-") {
		sign, n = "-", n[1:]
	}
	mantissa, exponent, _ := strings.Cut(strings.ToLower(n), "e")
	power := 0
	if exponent != "" {
		var err error
		if power, err = strconv.Atoi(exponent); err != nil {
			return sign + n // larger than any that another spelling could have
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	power -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0e0"
	}
	short := strings.TrimRight(digits, "0")
	return fmt.Sprintf("%s%se%d", sign, short, power+len(digits)-len(short))
}

// claimValues are the claims, and those of their values, that give a role.
type claimValues struct {
	claims map[string]bool
	known  map[string]bool // by claimKey
}

func newClaimValues(doc *document) claimValues {
	c := claimValues{map[string]bool{}, map[string]bool{}}
	for _, w := range doc.whose() {
		for claim, values := range w.claims {
			c.claims[claim] = true
			for _, v := range values {
				c.known[claimKey(claim, v)] = true
			}
		}
	}
	return c
}

// term is a list, empty for a workload, as groupsTerm.
func (c claimValues) term(q *Request) (*ast.Term, error) {
	if q.kind() != "user" || len(q.Claims) == 0 {
		return ast.ArrayTerm(), nil
	}
	if _, err := claimsTerm(q); err != nil {
		return nil, err
	}
	var out []string
	err := eachMember(q.Claims, func(name string, v jsontext.Value) error {
		if !c.claims[name] {
			return nil
		}
		for _, element := range elementsOf(v) {
			if key := claimKey(name, scalarOf(element)); c.known[key] {
				out = append(out, key)
			}
		}
		return nil
	})
	return textsTerm(out), err
}

// scalarOf reads a value as access.yaml has it.
func scalarOf(v jsontext.Value) any {
	switch v.Kind() {
	case '"':
		var s string
		if err := json.Unmarshal(v, &s); err != nil {
			return nil
		}
		return s
	case '0':
		return number(v)
	case 't', 'f':
		return v.Kind() == 't'
	}
	return nil
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
