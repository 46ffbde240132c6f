package policies_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// An omission reads as if the tool could not be called.
func TestOmissionThatAnotherGrantUndoes(t *testing.T) {
	const templates = "version: 1\ntemplates: {all: {servers: {s: {tools: [\"*\"], resources: [\"file:///a/*\"]}}}, one: {servers: {s: {tools: [t], resources: [\"file:///a/b\"]}}}}\n"
	for role, want := range map[string]string{
		`{template: [all, one], who: {users: [alice]}, servers: {s: {tools: {t: omit}}}}`:                 `tool "t" is omitted, and "*" of this role grants it: deny it under deny`,
		`{template: one, who: {users: [alice]}, servers: {s: {tools: {t: omit, "*": }}}}`:                 `tool "t" is omitted, and "*" of this role grants it: deny it under deny`,
		`{template: [all, one], who: {users: [alice]}, servers: {s: {resources: {"file:///a/b": omit}}}}`: `resource "file:///a/b" is omitted, and "file:///a/*" of this role grants it: deny it under deny`,
		`{template: [all, one], who: {users: [alice]}, servers: {s: {tools: {t: omit, "*": omit}}}}`:      "",
		`{template: one, who: {users: [alice]}, servers: {s: {tools: {t: omit, u: }}}}`:                   "",
	} {
		_, err := policies.New(t.Context(), policies.Config{Access: []byte(templates + "roles: {r: " + role + "}\n")})
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", role, err, want)
		}
	}
}

// Grants are alternatives: who reads the condition may think that it holds.
func TestConditionThatEveryToolBypassesIsWarnedOf(t *testing.T) {
	for tools, warned := range map[string]bool{
		`{"*": , t: {sender_constrained: true}}`:  true,
		`{"*": {hours: office}, t: {risk: high}}`: true,
		`{"*": {hours: office}, t: }`:             false,
		`{u: , t: {sender_constrained: true}}`:    false,
		`{"*": {sender_constrained: true}}`:       false,
	} {
		p := newPDP(t, toAlice(tools)+"hours: {office: {from: \"09:00\", to: \"17:00\", zone: UTC}}\n")
		w := p.Warnings(time.Unix(0, 0))
		if (len(w) == 1) != warned || warned && !strings.HasPrefix(w[0], "access.yaml:2: roles.r.servers.s.tools.t: its conditions, and access.yaml:2: roles.r.servers.s.tools.* grants it without them") {
			t.Errorf("%s: %q", tools, w)
		}
	}
}
