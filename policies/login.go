package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
)

// groupsTerm is a list, empty for a workload: nothing that is said of people may
// count for one.
func groupsTerm(q *Request) (*ast.Term, error) {
	if q.kind() != "user" {
		return ast.ArrayTerm(), nil
	}
	out := make([]*ast.Term, 0, len(q.Groups))
	for _, g := range q.Groups {
		out = append(out, ast.StringTerm(g))
	}
	return ast.ArrayTerm(out...), nil
}

// claimsTerm is an object, empty where nothing was said.
func claimsTerm(q *Request) (*ast.Term, error) {
	if len(q.Claims) == 0 {
		return ast.ObjectTerm(), nil
	}
	t, err := valueTerm(q.Claims)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	object, ok := t.Value.(ast.Object)
	if !ok {
		return nil, errors.New("claims are not an object")
	}
	return t, object.Iter(func(_, v *ast.Term) error {
		if !plainClaim(v.Value) {
			return errors.New("a claim is neither text, number, boolean nor a list of texts")
		}
		return nil
	})
}

func plainClaim(v ast.Value) bool {
	switch v := v.(type) {
	case ast.String, ast.Number, ast.Boolean:
		return true
	case *ast.Array:
		return !v.Until(func(item *ast.Term) bool { _, text := item.Value.(ast.String); return !text })
	}
	return false
}

// acrTerm and authTimeTerm are absent where nobody said, so that a condition on
// them does not hold.
func acrTerm(q *Request) (*ast.Term, error) {
	if q.ACR == "" {
		return nil, nil
	}
	return ast.StringTerm(q.ACR), nil
}

// authTimeTerm is in seconds since 1970, as in the token.
func authTimeTerm(q *Request) (*ast.Term, error) {
	if q.AuthTime.IsZero() {
		return nil, nil
	}
	return ast.NumberTerm(json.Number(strconv.FormatInt(q.AuthTime.Unix(), 10))), nil
}
