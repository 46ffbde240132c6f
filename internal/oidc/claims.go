package oidc

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// Limits on what we keep of a person: a session and each token carry it.
const (
	maxGroups = 200
	maxGroup  = 256     // bytes of a group's name
	maxClaims = 4 << 10 // bytes of all kept claims together, names included
	maxWhole  = 1 << 53 // beyond it two whole numbers can be one float64
)

// protocol are the claims that decide about the token itself.
var protocol = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "auth_time", "acr"}

// claims is the payload of a verified ID token.
type claims map[string]jsontext.Value

// parseClaims refuses what two readers could read in two ways: a name that is
// there twice, and one that go-oidc, which does not look at case, takes for a
// claim of the protocol.
func parseClaims(payload jsontext.Value) (claims, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil { // refuses duplicate names, at any depth
		return nil, fmt.Errorf("read the ID token: %w", err)
	}
	maps.DeleteFunc(c, func(_ string, v jsontext.Value) bool { return v.Kind() == 'n' })
	for name := range c {
		for _, p := range protocol {
			if name != p && strings.EqualFold(name, p) {
				return nil, fmt.Errorf("the ID token has a claim %q beside or instead of %s", name, p)
			}
		}
	}
	return c, nil
}

// text returns a claim that must be a string, empty where it is missing.
func (c claims) text(name string) (string, error) {
	var s string
	if v, ok := c[name]; ok && (v.Kind() != '"' || json.Unmarshal(v, &s) != nil) {
		return "", fmt.Errorf("claim %q is not a string", name)
	}
	return s, nil
}

// texts returns a claim that must be a list of strings, or one string.
func (c claims) texts(name string) ([]string, error) {
	v, ok := c.lookup(name)
	if !ok {
		return nil, nil
	}
	if v.Kind() == '"' {
		v = slices.Concat(jsontext.Value("["), v, jsontext.Value("]"))
	}
	list, err := stringList(v)
	if err != nil {
		return nil, fmt.Errorf("claim %q: %w", name, err)
	}
	return list, nil
}

func stringList(v jsontext.Value) ([]string, error) {
	var list []any // of strings it would take null for one
	if err := json.Unmarshal(v, &list); err != nil {
		return nil, errors.New("it is not a list")
	}
	out := make([]string, len(list))
	for i, item := range list {
		s, ok := item.(string)
		if !ok {
			return nil, errors.New("it is a list of something else than strings")
		}
		out[i] = s
	}
	return out, nil
}

// time returns a claim that must be seconds since 1970, and whether it is there.
func (c claims) time(name string) (time.Time, bool, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, false, nil
	}
	var seconds float64
	if err := json.Unmarshal(v, &seconds); err != nil || math.Abs(seconds) > maxWhole {
		return time.Time{}, false, fmt.Errorf("claim %q is not a time", name)
	}
	return time.Unix(int64(seconds), 0), true, nil
}

// lookup finds a claim by its name, or by a path of names with dots between them.
// The name comes first: names with dots (https://idp.example/groups) are common.
func (c claims) lookup(name string) (jsontext.Value, bool) {
	if v, ok := c[name]; ok {
		return v, v.Kind() != 'n' // null inside an object
	}
	head, rest, ok := strings.Cut(name, ".")
	if !ok || c[head].Kind() != '{' {
		return nil, false
	}
	var inner claims
	if err := json.Unmarshal(c[head], &inner); err != nil {
		return nil, false
	}
	return inner.lookup(rest)
}

// describe makes the person of the claims that the configuration names.
func (p *Provider) describe(c claims) (authz.Person, error) {
	if err := p.checkElsewhere(c); err != nil {
		return authz.Person{}, err
	}
	subject, err := p.subject(c)
	if err != nil {
		return authz.Person{}, err
	}
	groups, err := p.groups(c)
	if err != nil {
		return authz.Person{}, err
	}
	kept, err := p.keep(c)
	if err != nil {
		return authz.Person{}, err
	}
	return authz.Person{Subject: subject, Groups: groups, Claims: kept}, nil
}

// checkElsewhere refuses a token that says where a claim is instead of what it is
// (Core §5.6.2). Entra ID does so for people in more than 200 groups; without this
// they would be people in no group.
func (p *Provider) checkElsewhere(c claims) error {
	var names map[string]jsontext.Value
	if v, ok := c["_claim_names"]; ok {
		if err := json.Unmarshal(v, &names); err != nil {
			return errors.New("_claim_names is not an object")
		}
	}
	for _, want := range append([]string{p.cfg.SubjectClaim, p.cfg.GroupsClaim}, p.cfg.Claims...) {
		head, _, _ := strings.Cut(want, ".")
		for name := range names {
			if name == want || name == head {
				return fmt.Errorf("the ID token does not hold claim %q but a reference to it (_claim_names), as for a person in too many groups: have the identity provider send only the groups assigned to this application", name)
			}
		}
	}
	return nil
}

func (p *Provider) subject(c claims) (identity.Subject, error) {
	if sub, err := c.text(claimSub); err != nil || sub == "" { // required, whoever names the subject (Core §2)
		return identity.Subject{}, errors.Join(errors.New("the ID token names no sub"), err)
	}
	if p.cfg.SubjectClaim == claimEmail && string(c["email_verified"]) != "true" {
		return identity.Subject{}, errors.New("email names the subject, but email_verified is not true")
	}
	name, err := c.text(p.cfg.SubjectClaim)
	if err != nil {
		return identity.Subject{}, err
	}
	subject, err := identity.ParseSubject(name)
	if err != nil {
		return identity.Subject{}, fmt.Errorf("claim %q: %w", p.cfg.SubjectClaim, err)
	}
	return subject, nil
}

func (p *Provider) groups(c claims) ([]string, error) {
	groups, err := c.texts(p.cfg.GroupsClaim)
	if err != nil {
		return nil, err
	}
	if len(groups) > maxGroups {
		return nil, fmt.Errorf("claim %q lists %d groups, more than %d: have the identity provider send only those that matter here", p.cfg.GroupsClaim, len(groups), maxGroups)
	}
	for _, g := range groups {
		if g == "" || len(g) > maxGroup {
			return nil, fmt.Errorf("claim %q lists a group whose name is empty or longer than %d bytes", p.cfg.GroupsClaim, maxGroup)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}

// keep returns the claims to keep that are there.
func (p *Provider) keep(c claims) (map[string]any, error) {
	kept := map[string]any{}
	size := 0
	for _, name := range p.cfg.Claims {
		v, ok := c.lookup(name)
		if !ok {
			continue
		}
		if size += len(name) + len(v); size > maxClaims {
			return nil, fmt.Errorf("claim %q makes the claims to keep larger than %d bytes", name, maxClaims)
		}
		value, err := simple(v)
		if err != nil {
			return nil, fmt.Errorf("claim %q: %w", name, err)
		}
		kept[name] = value
	}
	return kept, nil
}

// simple returns a string, float64, bool or []string.
func simple(v jsontext.Value) (any, error) {
	switch v.Kind() {
	case '[':
		return stringList(v)
	case '{':
		return nil, errors.New("it is an object: name a member of it, as in address.country")
	}
	var value any
	if err := json.Unmarshal(v, &value); err != nil {
		return nil, err
	}
	if f, ok := value.(float64); ok && math.Abs(f) > maxWhole {
		return nil, errors.New("it is a number too large to be kept exactly")
	}
	return value, nil
}
