package exchange_test

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/policies"
)

// wire reads the claims of a token, without this repository's own parser.
func wire(raw string) map[string]any {
	var c map[string]any
	b := must(base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1]))
	if err := json.Unmarshal(b, &c); err != nil {
		panic(err)
	}
	return c
}

// covers reports whether what has the scopes may give the one.
func covers(has []string, scope string) bool {
	switch kind, _, _ := strings.Cut(scope, ":"); kind {
	case "prompt", "resource": // of a call token: an access token has the whole kind
		return slices.Contains(has, "mcp:"+kind+"s")
	case "tool":
		return slices.Contains(has, scope) || slices.Contains(has, "mcp:tools")
	}
	return slices.Contains(has, scope)
}

// chain is the actors of a token, newest first, by the rule of DESIGN.md section 1.
func chain(c map[string]any) (out []map[string]any) {
	if c["act"] == nil && c["sub"] != c["client_id"] {
		return []map[string]any{actor(c["client_id"].(string))}
	}
	for a, _ := c["act"].(map[string]any); a != nil; a, _ = a["act"].(map[string]any) {
		out = append(out, a)
	}
	return out
}

func sameActor(a, b map[string]any) bool {
	return a["iss"] == b["iss"] && a["sub"] == b["sub"] && a["client_id"] == b["client_id"]
}

// check holds what came out of an exchange against what went in.
func (w *walk) check(t *rapid.T, d *drawn, child *known, resp oauth.TokenResponse) {
	p, c := d.subject.claims, child.claims
	fail := func(rule string) {
		t.Helper()
		t.Fatalf("%s\nparent %v\nchild  %v\nrequest %v, of client %+v", rule, p, c, d.Form, d.Client)
	}
	if !d.Client.Confidential || d.subject.tool {
		fail("G8, G9: issued to a public client, or for a call token")
	}
	for _, s := range strings.Fields(c["scope"].(string)) {
		if !covers(strings.Fields(p["scope"].(string)), s) || len(w.own[d.Client.ID]) > 0 && !covers(w.own[d.Client.ID], s) {
			fail("G1: the scope " + s + " is wider than the parent's or the client's")
		}
	}
	if c["scope"] == "" || d.Form.Get("scope") != "" && c["scope"] != d.Form.Get("scope") {
		fail("G1: the scope is empty, or another than was asked for")
	}
	aud := p["aud"].(string)
	if c["aud"] != aud && !slices.Contains(w.edges[aud], c["aud"].(string)) || !slices.Contains(walkResources, c["aud"].(string)) {
		fail("G2: the audience is none that the parent leads to")
	}
	w.checkTime(d, child, fail)
	w.checkParties(d, child, fail)
	w.checkBinding(d, c, fail)
	if w.ended(d.subject) {
		fail("G11: the parent, or what it comes from, was revoked")
	}
	if resp.RefreshToken != "" || resp.IssuedTokenType != oauth.TokenTypeAccessToken || resp.ExpiresIn != int64(c["exp"].(float64)-c["iat"].(float64)) || resp.Scope != c["scope"] {
		fail("G9: a refresh token, or an answer that does not say what was issued")
	}
	w.checkPolicy(t, d, child, fail)
}

func (w *walk) checkTime(d *drawn, child *known, fail func(string)) {
	p, c := d.subject.claims, child.claims
	life := map[bool]int64{true: 60, false: 120}[child.tool]
	exp, iat := int64(c["exp"].(float64)), int64(c["iat"].(float64))
	root := d.subject
	for root.parent != nil {
		root = root.parent
	}
	switch {
	case float64(exp) > p["exp"].(float64), float64(exp) > root.claims["exp"].(float64):
		fail("G3: it outlives its parent or its root")
	case exp > w.clock.Unix()+life, exp <= w.clock.Unix():
		fail("G3: it lives longer than its kind may, or not at all")
	case float64(iat) < p["iat"].(float64):
		fail("G3: it is older than its parent")
	case d.actor != nil && float64(exp) > d.actor.claims["exp"].(float64):
		fail("G3: it outlives the actor_token")
	}
	if float64(exp) == p["exp"].(float64) {
		w.kinds["short-lived"]++
	}
}

func (w *walk) checkParties(d *drawn, child *known, fail func(string)) {
	p, c := d.subject.claims, child.claims
	if c["sub"] != p["sub"] || c["txn"] != p["txn"] || c["client_id"] != d.Client.ID || c["iss"] != p["iss"] {
		fail("G4: subject, transaction, client or issuer")
	}
	newest := actor(d.Client.ID)
	if d.actor != nil {
		newest["sub"] = d.actor.claims["sub"]
		if d.actor.claims["client_id"] != d.Client.ID || d.actor.claims["act"] != nil || d.actor.tool {
			fail("G6: the actor_token is another client's, or is none")
		}
		if newest["sub"] != d.Client.ID {
			w.kinds["person actor"]++
			if p["may_act"] == nil {
				fail("G6: a person acts whom nothing lets")
			}
		}
	}
	w.checkChain(d, c, newest, fail)
	if p["may_act"] == nil && p["client_id"] != d.Client.ID && !slices.Contains(w.acts[d.Client.ID], "*") && !slices.Contains(w.acts[d.Client.ID], p["client_id"].(string)) {
		fail("G6: the token of a client that it does not act for")
	}
}

// checkChain: what is the parent's stays, and one is added.
func (w *walk) checkChain(d *drawn, c map[string]any, newest map[string]any, fail func(string)) {
	p := d.subject.claims
	before, after := chain(p), chain(c)
	want := before
	self := len(before) == 0 && p["sub"] == newest["sub"] && newest["client_id"] == newest["sub"]
	if !self && (len(before) == 0 || !sameActor(before[0], newest)) {
		want = append([]map[string]any{newest}, before...)
	}
	if len(after) != len(want) || len(after) > 8 {
		fail("G4: the chain is not the parent's with its newest actor")
	}
	for i := range want {
		if !sameActor(after[i], want[i]) {
			fail("G4: an actor of the chain is another")
		}
	}
	if len(after) >= 7 {
		w.kinds["deep"]++
	}
	if workload := p["workload"] == true || p["sub"] == p["client_id"]; (c["workload"] == true) != workload {
		fail("G4: a workload became a person, or a person a workload")
	}
	if m, ok := p["may_act"].(map[string]any); ok {
		w.kinds["may_act"]++
		for name, v := range m {
			if newest[name] != v {
				fail("G5: may_act names another")
			}
		}
	}
	if (p["may_act"] == nil) != (c["may_act"] == nil) {
		fail("G5: may_act was dropped or added")
	}
	anc, _ := c["ancestors"].([]any)
	was, _ := p["ancestors"].([]any)
	if len(anc) != len(was)+1 || anc[len(was)] != p["jti"] {
		fail("G11: it does not say what it comes from")
	}
}

func (w *walk) checkBinding(d *drawn, c map[string]any, fail func(string)) {
	was, is, bind := proofOf(d.subject.claims["cnf"]), proofOf(c["cnf"]), d.Bind
	keep := func(parent, child, proved, wanted string) {
		switch {
		case parent != "" && (child != parent || proved != parent):
			fail("G7: the binding was dropped, changed or not proved")
		case parent == "" && child != wanted, child != "" && child != proved:
			fail("G7: bound to something else than was proved and wanted")
		}
	}
	keep(was.JKT, is.JKT, d.Proof.JKT, bind.JKT)
	keep(was.X5T, is.X5T, d.Proof.X5T, bind.X5T)
	if c["cnf"] != nil {
		w.kinds["bound"]++
	}
}

// checkPolicy asks the policy itself.
func (w *walk) checkPolicy(t *rapid.T, d *drawn, child *known, fail func(string)) {
	c := child.claims
	ask := policies.Request{Subject: must(identity.ParseSubject(c["sub"].(string))), ClientID: identity.MustClientID(d.Client.ID), Workload: c["workload"] == true,
		Action: policies.ActionCallTool, Server: map[string]string{mail: "mail", files: "files"}[c["aud"].(string)], Time: w.clock}
	if !ask.Workload && ask.Subject.Is(ask.ClientID) {
		fail("a person has the name of a client")
	}
	for _, s := range strings.Fields(c["scope"].(string)) {
		if tool, ok := strings.CutPrefix(s, "tool:"); ok {
			ask.Tool = tool
			if !w.policy.Decide(t.Context(), ask).Allowed() {
				fail("policy denies " + s)
			}
		}
	}
	w.kinds[map[bool]string{true: "tool", false: "delegated"}[child.tool]]++
	if c["aud"] != d.subject.claims["aud"] {
		w.kinds["downstream"]++
	}
	if child.tool != (c["authorization_details"] != nil) {
		fail("one product in the place of the other")
	}
}

// checkCall holds what the gateway sends upstream against what was presented to it.
func (w *walk) checkCall(t *rapid.T, k *known, c map[string]any) {
	p := k.claims
	fail := func(rule string) { t.Helper(); t.Fatalf("%s\npresented %v\nsent      %v", rule, p, c) }
	exp := c["exp"].(float64)
	switch {
	case exp > p["exp"].(float64), exp > float64(w.clock.Unix()+60), exp-c["iat"].(float64) > 60:
		fail("G3: it lives too long")
	case c["sub"] != p["sub"], c["txn"] != p["txn"], c["aud"] != upstream, c["client_id"] != "gateway":
		fail("G2, G4: audience, subject, transaction or presenter")
	case strings.Contains(c["scope"].(string), " "), !covers(strings.Fields(p["scope"].(string)), c["scope"].(string)):
		fail("G1: more than one scope, or a wider one")
	case w.ended(k):
		fail("G11: it was revoked")
	}
	before, after := chain(p), chain(map[string]any{"act": c["act"], "sub": "", "client_id": ""})
	if len(before) != len(after) {
		fail("G4: the gateway is an actor, or one is missing")
	}
	for i := range before {
		if !sameActor(before[i], after[i]) {
			fail("G4: an actor is another")
		}
	}
	for _, name := range []string{"groups", "claims", "acr", "auth_time", "ancestors", "may_act", "cnf", "workload"} {
		if c[name] != nil {
			fail("an upstream is told " + name)
		}
	}
}
