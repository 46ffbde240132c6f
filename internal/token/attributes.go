package token

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what an access token says about a person. A policy decision reads
// all of it, and a token with all of it must still be one that verifiers take.
const (
	MaxGroups     = 200
	MaxAttributes = 4 << 10 // bytes of groups and claims together, as JSON
	maxName       = 256     // bytes of a group, of a claim's name, of acr
)

// ErrAttributes means that no token can say this about a person.
var ErrAttributes = errors.New("groups, claims or acr are too many, too long or of another type")

// attributes is what the login told about a person: the claims of RFC 9068
// §2.2.1 and §2.2.3.1, and whatever else the organisation's IdP says. The latter
// is a claim of its own, so that no name of an IdP meets one with a meaning here.
type attributes struct {
	Groups []string       `json:"groups,omitempty"`
	ACR    string         `json:"acr,omitempty"`
	Claims jsontext.Value `json:"claims,omitzero"` // one object
}

// CheckAttributes reports, with ErrAttributes, whether [Minter.Access] would
// refuse these parts of an AccessSpec: to be asked at login, where somebody can
// still be told.
func CheckAttributes(groups []string, claims map[string]any, acr string) error {
	_, err := newAttributes(groups, claims, acr)
	return err
}

// newAttributes is nil where there is nothing to say.
func newAttributes(groups []string, claims map[string]any, acr string) (*attributes, error) {
	if len(groups) == 0 && len(claims) == 0 && acr == "" {
		return nil, nil
	}
	a := &attributes{Groups: slices.Clone(groups), ACR: acr}
	if len(claims) > 0 {
		var err error
		if a.Claims, err = json.Marshal(claims, json.Deterministic(true), numbers); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAttributes, err)
		}
	}
	return a, a.check()
}

// numbers writes a Number of encoding/json as the number that it is.
var numbers = json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, n stdjson.Number) error {
	return e.WriteValue(jsontext.Value(n))
}))

// check holds the attributes to their bounds, whoever signed them.
func (a *attributes) check() error {
	if a == nil {
		return nil
	}
	if len(a.Groups) > MaxGroups || len(a.ACR) > maxName {
		return fmt.Errorf("%w: more than %d groups, or acr too long", ErrAttributes, MaxGroups)
	}
	groups, err := json.Marshal(a.Groups)
	if err != nil {
		return fmt.Errorf("%w: groups: %w", ErrAttributes, err)
	}
	if len(groups)+len(a.Claims) > MaxAttributes {
		return fmt.Errorf("%w: longer than %d bytes", ErrAttributes, MaxAttributes)
	}
	if slices.ContainsFunc(a.Groups, badName) {
		return fmt.Errorf("%w: a group without a name, or with a long one", ErrAttributes)
	}
	if a.Claims == nil {
		return nil
	}
	return checkClaims(a.Claims)
}

func badName(s string) bool { return s == "" || len(s) > maxName }

// checkClaims takes one object of strings, numbers, booleans and lists of strings.
func checkClaims(object jsontext.Value) error {
	var m map[string]jsontext.Value
	if err := json.Unmarshal(object, &m); err != nil || m == nil {
		return fmt.Errorf("%w: claims is not an object", ErrAttributes)
	}
	for name, v := range m {
		if badName(name) || !plainValue(v) {
			return fmt.Errorf("%w: a claim without a name, or neither text, number, boolean nor a list of texts", ErrAttributes)
		}
	}
	return nil
}

func plainValue(v jsontext.Value) bool {
	switch v.Kind() {
	case '"', 't', 'f':
		return true
	case '0':
		_, err := strconv.ParseFloat(string(v), 64) // beyond every float64 there is nothing to compare
		return err == nil
	case '[':
		var list []jsontext.Value
		err := json.Unmarshal(v, &list)
		return err == nil && !slices.ContainsFunc(list, func(v jsontext.Value) bool { return v.Kind() != '"' })
	}
	return false
}

// Groups are the groups of the person at their IdP. They are read-only.
func (v Verified) Groups() []string {
	if v.c.Attributes == nil {
		return nil
	}
	return v.c.Attributes.Groups
}

// Claims is what else the IdP said of the person: one JSON object of strings,
// numbers, booleans and lists of strings, or nil. It is read-only.
func (v Verified) Claims() jsontext.Value {
	if v.c.Attributes == nil {
		return nil
	}
	return v.c.Attributes.Claims
}

// ACR is how the person logged in (RFC 9470 §3), empty where nobody said.
func (v Verified) ACR() string {
	if v.c.Attributes == nil {
		return ""
	}
	return v.c.Attributes.ACR
}
