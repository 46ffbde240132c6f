package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// TestExchangesNarrowOnEveryWalk walks at random: resources that lead to one another,
// policies, clients with scopes, keys and whom they act for, root tokens with chains,
// bindings and may_act, and revocations, also at the same moment as exchanges. After
// every step what came out is held against what went in, as an order on (scope,
// audience, expiry, chain, binding), by rules that are written again here (walkrules):
// the guarantees G1 to G9 and G11 to G12 of docs/exchange.md.
//
// It was seen to fail with each of these taken out or turned round, one at a time:
//
//	token/narrow.go   child: the parent's Expiry; Until; MayBegin; the parent's ProvenBy; Bind's ProvenBy;
//	                  and: the parent's binding; Txn; Subject; Ancestors; MayAct; Workload; IssuedAt.
//	                  Delegate: CoversAll. call: Covers; MaxCallLifetime. Readdress: the parent's Expiry
//	token/actor.go    ActorsWith: Act; is; the workload itself; that an actor is added at all.
//	                  MayBegin: may_act; the length
//	token/scope.go    CoversAll: a tool is covered by that tool or by mcp:tools
//	token/verify.go   ParseSubject: call tokens; ProvenBy. read: Revocations.Check
//	exchange          confidential clients; leadsTo; the client's own scope, for either product; the
//	                  parent's scope; ClientID, actsFor and may_act; the actor_token's client, actors,
//	                  person and expiry; policy for either product and each tool; the record of either
func TestExchangesNarrowOnEveryWalk(t *testing.T) {
	issued, kinds := 0, map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t)
		for range 3 {
			w.root(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"root":     w.root,
			"exchange": w.exchange, "exchange on": w.exchange, "exchange again": w.exchange,
			"call": w.call,
			"mint": w.mint, "mint on": w.mint,
			"time":   func(t *rapid.T) { w.advance(time.Duration(rapid.IntRange(1, 30).Draw(t, "seconds")) * time.Second) },
			"revoke": w.revoke,
			"race":   w.race,
			"":       w.nothingRevokedLives,
		})
		issued += len(w.made)
		for k, n := range w.kinds {
			kinds[k] += n
		}
	})
	t.Logf("%d tokens issued, %v", issued, kinds)
	for _, k := range []string{"tool", "delegated", "mcp_tool_call", "mcp_prompt_get", "mcp_resource_read", "readdressed", "minted", "bound", "downstream", "person actor", "may_act", "deep", "short-lived"} {
		if kinds[k] == 0 {
			t.Errorf("no walk issued a token of the kind %s: the test shows nothing of it", k)
		}
	}
}

// Few names, so that they meet.
var (
	walkClients   = []string{"agent", "editor", "sub-agent", "robot"}
	walkResources = []string{mail, files}
	walkScopes    = []string{"mcp:tools", "mcp:tools", "mcp:prompts", "mcp:resources", "tool:read_message", "tool:list_messages", "tool:delete_message"}
	walkKeys      = []string{"", "", alicesKey, thiefsKey}
	walkPolicies  = []string{access, `version: 1
roles:
  everybody:
    who: {users: [alice, bob], clients: [agent, robot]}
    servers:
      mail: {tools: ["*"]}
      files: {tools: ["*"]}
`, `version: 1
roles:
  workloads:
    who: {clients: [agent]}
    servers:
      mail: {tools: [read_message]}
`}
)

// walkDetails are what the gateway says of a call, by the type that they get.
var walkDetails = map[string]token.Details{
	token.DetailsToolCall:     {Server: "mail", ArgumentsDigest: "d"},
	token.DetailsPromptGet:    {Server: "mail", ArgumentsDigest: "d"},
	token.DetailsResourceRead: {Server: "mail", Resource: "file:///a"},
}

// known is a token of the walk, with what it came from.
type known struct {
	raw    string
	claims map[string]any
	parent *known
	tool   bool
}

// walk is a world with the tokens that were seen in it.
type walk struct {
	*world
	t       *rapid.T
	tokens  []*known // that somebody has
	made    []*known // by exchange
	kinds   map[string]int
	own     map[string][]string // scopes of clients
	acts    map[string][]string // whom clients act for
	edges   map[string][]string
	policy  *policies.PDP
	revoked *ledger
}

// ledger is a revocation.Store in memory, with the view of one replica on it.
type ledger struct {
	*revocation.View
	now     func() time.Time
	mu      sync.Mutex // guards entries
	entries []revocation.Entry
}

func newLedger(now func() time.Time) *ledger {
	l := &ledger{now: now}
	l.View = revocation.NewView(revocation.Config{Store: l, Issuer: issuer, Now: now, MaxAge: time.Hour}) // the walk's clock runs, nobody polls
	if err := l.Poll(context.Background()); err != nil {
		panic(err)
	}
	return l
}

func (l *ledger) Revoke(_ context.Context, e revocation.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq = int64(len(l.entries)) + 1
	l.entries = append(l.entries, e)
	return nil
}

func (*ledger) Unfreeze(context.Context, revocation.Entry) error { return revocation.ErrNotFrozen }

func (l *ledger) Revocations(_ context.Context, after int64) ([]revocation.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries[after:]), nil
}

// add revokes, as the replica that took the order does.
func (l *ledger) add(kind revocation.Kind, name string) {
	if err := errors.Join(l.Revoke(context.Background(), revocation.New(kind, name, l.now())), l.Poll(context.Background())); err != nil {
		panic(err)
	}
}

func newWalk(t *rapid.T) *walk {
	w := &walk{t: t, kinds: map[string]int{}, own: map[string][]string{}, acts: map[string][]string{}, edges: map[string][]string{}}
	cfg := exchange.Config{ActsFor: map[identity.ClientID]exchange.Principals{}, Downstream: map[oauth.Resource][]oauth.Resource{}}
	for _, c := range walkClients {
		w.own[c] = rapid.SampledFrom([][]string{nil, nil, {"mcp:tools"}, {"mcp:tools", "mcp:prompts"}, {"tool:read_message"}, {"mcp:prompts"}}).Draw(t, c+"'s scope")
		w.acts[c] = rapid.SampledFrom([][]string{nil, {"*"}, {"editor"}, {"editor", "agent"}}).Draw(t, c+" acts for")
		p := exchange.Principals{All: slices.Contains(w.acts[c], "*")}
		for _, other := range w.acts[c] {
			p.Clients = append(p.Clients, identity.MustClientID(other))
		}
		cfg.ActsFor[identity.MustClientID(c)] = p
	}
	if rapid.Bool().Draw(t, "mail leads to files") {
		w.edges[mail] = []string{files}
	}
	for from, to := range w.edges {
		cfg.Downstream[must(oauth.ParseResource(from))] = []oauth.Resource{must(oauth.ParseResource(to[0]))}
	}
	w.policy = must(policies.New(t.Context(), policies.Config{Access: []byte(rapid.SampledFrom(walkPolicies).Draw(t, "policy"))}))
	w.world = buildWorld(w.policy, func(c *exchange.Config) {
		c.ActsFor, c.Downstream = cfg.ActsFor, cfg.Downstream
		w.revoked = newLedger(c.Now)
		c.Verifier = token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: signer{key}, Now: c.Now, Revocations: w.revoked})
		c.Definitions = everyTool{}
	})
	return w
}

// everyTool has a definition of every tool.
type everyTool struct{}

func (everyTool) Definition(_ context.Context, server, tool string) (string, bool) {
	return "def-" + server + "-" + tool, true
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// root is an access token that a grant gave, or that an exchange of before gave.
func (w *walk) root(t *rapid.T) {
	c := claims{"jti": fmt.Sprintf("root-%d", len(w.tokens)), "txn": fmt.Sprintf("grant-%d", len(w.tokens)), "aud": rapid.SampledFrom(walkResources).Draw(t, "aud"),
		"client_id": rapid.SampledFrom(walkClients).Draw(t, "client"), "iat": w.clock.Unix(), "exp": w.clock.Unix() + int64(rapid.IntRange(1, 40).Draw(t, "life"))*10,
		"scope": rapid.SampledFrom([]string{"mcp:tools", "mcp:tools mcp:prompts mcp:resources", "mcp:tools", "tool:read_message tool:list_messages", "mcp:prompts", "mcp:resources", ""}).Draw(t, "scope")}
	c["sub"] = rapid.SampledFrom([]string{"alice", "alice", "bob", c["client_id"].(string)}).Draw(t, "sub")
	var act map[string]any
	names := rapid.SliceOfN(rapid.SampledFrom(walkClients), 0, 8).Draw(t, "actors")
	if len(names) > 0 {
		names[len(names)-1] = c["client_id"].(string)
	}
	for _, name := range names {
		a := actor(name)
		if act != nil {
			a["act"] = act
		}
		act = a
	}
	if act != nil {
		c["act"] = act
		c["workload"] = rapid.Bool().Draw(t, "workload")
	}
	cnf := claims{}
	for name, key := range map[string]string{"jkt": rapid.SampledFrom(walkKeys).Draw(t, "jkt"), "x5t#S256": rapid.SampledFrom([]string{"", "", "", alicesCert}).Draw(t, "x5t")} {
		if key != "" {
			cnf[name] = key
		}
	}
	if len(cnf) > 0 {
		c["cnf"] = cnf
	}
	switch rapid.Uint64().Draw(t, "may_act") % 8 {
	case 6:
		c["may_act"] = claims{"client_id": rapid.SampledFrom(walkClients).Draw(t, "may")}
	case 7:
		c["may_act"] = claims{"sub": "bob"}
		theirs := forge(w.t, claims{"sub": "bob", "client_id": c["client_id"], "jti": fmt.Sprintf("bobs-%d", len(w.tokens)), "txn": fmt.Sprintf("bobs-%d", len(w.tokens)),
			"iat": w.clock.Unix(), "exp": w.clock.Unix() + int64(rapid.IntRange(1, 40).Draw(t, "life"))*10})
		w.tokens = append(w.tokens, &known{raw: theirs, claims: wire(theirs)})
	}
	raw := forge(w.t, c)
	w.tokens = append(w.tokens, &known{raw: raw, claims: wire(raw)})
}

// drawn is a request, with what it is made of.
type drawn struct {
	oauth.TokenRequest
	subject, actor *known
	tool           string
}

// request draws one that might be granted, and then lets some things about it be
// otherwise; nil when there is nothing to exchange.
func (w *walk) request(t *rapid.T) *drawn {
	if len(w.tokens) == 0 {
		return nil
	}
	living := w.living(false)
	if len(living) == 0 || oneOf(t, 10, "with any token") {
		living = w.tokens
	}
	d := &drawn{subject: rapid.SampledFrom(living).Draw(t, "subject_token")}
	p := d.subject.claims
	client, wanted := p["client_id"].(string), ""
	otherwise := func(what string) bool { return oneOf(t, 10, what) }
	if m, ok := p["may_act"].(map[string]any); ok && m["client_id"] != nil {
		client = m["client_id"].(string)
	} else if rapid.Bool().Draw(t, "by another client") {
		client = rapid.SampledFrom(walkClients).Draw(t, "by")
	}
	if has := strings.Fields(p["scope"].(string)); len(has) > 0 {
		wanted = rapid.SampledFrom(append(has, "", "tool:read_message", "tool:read_message")).Draw(t, "wanted")
	}
	if otherwise("wants something else") {
		wanted = rapid.SampledFrom(append(walkScopes, "mcp:tools mcp:prompts mcp:resources")).Draw(t, "wanted")
	}
	d.TokenRequest = delegation(client, d.subject.raw, "resource", p["aud"].(string))
	if d.Client.Scope = w.own[client]; wanted != "" {
		d.Form.Set("scope", wanted)
	}
	if oneOf(t, 3, "at another resource") {
		d.Form.Set("resource", rapid.SampledFrom([]string{files, files, files, mail, upstream, ""}).Draw(t, "resource"))
	}
	if otherwise("names an audience") {
		d.Form.Set("audience", rapid.SampledFrom([]string{"mail", "files", mail, upstream}).Draw(t, "audience"))
	}
	d.Client.Confidential = !otherwise("is public")
	w.drawActor(t, d)
	w.drawProof(t, d, otherwise)
	if strings.HasPrefix(wanted, "tool:") && rapid.Bool().Draw(t, "one call") || otherwise("one call of no tool") {
		d.tool = strings.TrimPrefix(d.Form.Get("scope"), "tool:")
		server := map[string]string{mail: "mail", files: "files"}[d.Form.Get("resource")]
		d.Form.Set("authorization_details", `[{"type":"mcp_tool_call","server":"`+server+`","tool":"`+d.tool+`","arguments":{}}]`)
	}
	return d
}

// living are the tokens of the kind that have neither expired nor ended.
func (w *walk) living(tool bool) []*known {
	return slices.DeleteFunc(slices.Clone(w.tokens), func(k *known) bool {
		return k.tool != tool || w.ended(k) || k.claims["exp"].(float64) <= float64(w.clock.Unix())
	})
}

func (w *walk) drawActor(t *rapid.T, d *drawn) {
	m, _ := d.subject.claims["may_act"].(map[string]any)
	if m["sub"] == nil && !oneOf(t, 4, "brings an actor") {
		return
	}
	own := slices.DeleteFunc(slices.Clone(w.tokens), func(k *known) bool {
		return k.claims["client_id"] != d.Client.ID || k.claims["act"] != nil || k.claims["exp"].(float64) <= float64(w.clock.Unix()) || m["sub"] != nil && m["sub"] != k.claims["sub"]
	})
	if len(own) == 0 || oneOf(t, 5, "another's") {
		own = w.tokens
	}
	d.actor = rapid.SampledFrom(own).Draw(t, "actor_token")
	d.Form.Set("actor_token", d.actor.raw)
	d.Form.Set("actor_token_type", oauth.TokenTypeAccessToken)
}

func (w *walk) drawProof(t *rapid.T, d *drawn, otherwise func(string) bool) {
	d.Proof = proofOf(d.subject.claims["cnf"])
	if d.Proof.JKT == "" {
		d.Proof.JKT = rapid.SampledFrom(walkKeys).Draw(t, "proved key")
	}
	if d.Proof.X5T == "" {
		d.Proof.X5T = rapid.SampledFrom([]string{"", "", alicesCert}).Draw(t, "proved certificate")
	}
	if otherwise("proves another key") {
		d.Proof.JKT = rapid.SampledFrom(walkKeys).Draw(t, "proved key")
	}
	if otherwise("proves no certificate") {
		d.Proof.X5T = ""
	}
	if d.Bind = d.Proof; oneOf(t, 3, "binds nothing") {
		d.Bind = oauth.Proof{}
	}
	if otherwise("binds to another's key") {
		d.Bind.JKT = thiefsKey
	}
}

// oneOf is true once in n times. (Integers that are drawn are mostly small.)
func oneOf(t *rapid.T, n int, what string) bool {
	return rapid.Uint64().Draw(t, what)%uint64(n) == uint64(n)-1
}

func proofOf(cnf any) (p oauth.Proof) {
	m, _ := cnf.(map[string]any)
	p.JKT, _ = m["jkt"].(string)
	p.X5T, _ = m["x5t#S256"].(string)
	return p
}

// exchange is some steps.
func (w *walk) exchange(t *rapid.T) {
	for range 8 {
		w.exchangeOnce(t)
	}
}

// exchangeOnce is one; whatever comes out is held to the rules.
func (w *walk) exchangeOnce(t *rapid.T) {
	d := w.request(t)
	if d == nil {
		return
	}
	recorded := len(w.audit.events)
	resp, err := w.Issue(t.Context(), d.TokenRequest)
	if err != nil {
		var oe *oauth.Error
		if resp != (oauth.TokenResponse{}) || !errors.As(err, &oe) || len(w.audit.events) != recorded {
			t.Fatalf("refused with %v, answered %+v, recorded %+v", err, resp, w.audit.events[recorded:])
		}
		return
	}
	child := &known{raw: resp.AccessToken, claims: wire(resp.AccessToken), parent: d.subject, tool: d.Form.Has("authorization_details")}
	if len(w.audit.events) != recorded+1 || w.audit.events[recorded].TokenID != d.subject.claims["jti"] || w.audit.events[recorded].Txn != d.subject.claims["txn"] {
		t.Fatalf("not recorded once, with parent and transaction: %+v", w.audit.events[recorded:]) // G12
	}
	w.check(t, d, child, resp)
	w.tokens, w.made = append(w.tokens, child), append(w.made, child)
}

// mint asks the minter itself, as if the exchange had checked nothing: it narrows all
// the same.
func (w *walk) mint(t *rapid.T) {
	d := w.request(t)
	if d == nil || d.subject.tool || w.ended(d.subject) {
		return
	}
	v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: signer{key}, Now: w.now})
	parent, err := v.ParseSubject(t.Context(), d.subject.raw, token.Confirmation(proofOf(d.subject.claims["cnf"])))
	if err != nil {
		return
	}
	who := token.ActorOf(issuer, identity.MustClientID(d.Client.ID))
	child := token.Child{Audience: mail, ClientID: who.ClientID, Actor: &who, Proof: token.Confirmation(d.Proof), Bind: token.Confirmation(d.Bind)}
	scope, err := token.ParseScope(rapid.SampledFrom(walkScopes).Draw(t, "minted scope"))
	if err != nil {
		return
	}
	d.actor = nil
	d.Form.Set("scope", scope.String())
	k := &known{parent: d.subject}
	if tool, notTool := token.ParseToolScope(scope.String()); notTool == nil && rapid.Bool().Draw(t, "a tool token") {
		k.tool = true
		k.raw, _, err = w.minter.Tool(parent, token.ToolSpec{Child: child, Scope: tool, Details: token.Details{Server: "mail", ArgumentsDigest: "d"}})
	} else {
		k.raw, _, err = w.minter.Delegate(parent, token.DelegateSpec{Child: child, Scope: scope, Lifetime: 2 * time.Minute})
	}
	if err != nil {
		return
	}
	k.claims = wire(k.raw)
	fail := func(rule string) {
		t.Fatalf("minted: %s\nparent %v\nchild  %v\nproof %+v, bind %+v", rule, d.subject.claims, k.claims, d.Proof, d.Bind)
	}
	if !covers(strings.Fields(d.subject.claims["scope"].(string)), k.claims["scope"].(string)) {
		fail("G1: the scope is wider than the parent's")
	}
	w.checkTime(d, k, fail)
	w.checkBinding(d, k.claims, fail)
	w.checkChain(d, k.claims, actor(d.Client.ID), fail)
	w.kinds["minted"]++
}

// call is the gateway's hop for a token that somebody presents.
func (w *walk) call(t *rapid.T) {
	if len(w.tokens) == 0 {
		return
	}
	from := w.living(oneOf(t, 2, "a tool token"))
	if len(from) == 0 || oneOf(t, 4, "any token") {
		from = w.tokens
	}
	k := rapid.SampledFrom(from).Draw(t, "presented")
	v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: signer{key}, Now: w.now, Revocations: w.revoked})
	proof := token.Confirmation(proofOf(k.claims["cnf"]))
	aud := k.claims["aud"].(string)
	gateway := identity.MustClientID("gateway")
	var sent token.Call
	kind := "readdressed"
	if k.tool {
		tool, err := v.ParseTool(t.Context(), k.raw, aud, proof)
		if err != nil {
			return
		}
		sent = must(w.Readdress(t.Context(), tool, upstream, gateway))
	} else {
		a, err := v.ParseAccess(t.Context(), k.raw, aud, proof)
		if err != nil {
			return
		}
		scope := must(token.ParseCallScope(rapid.SampledFrom([]string{"tool:read_message", "tool:delete_message", "prompt:read_message", "resource"}).Draw(t, "called")))
		sent, err = w.Call(t.Context(), a, token.CallSpec{Audience: upstream, Presenter: gateway, Scope: scope, Details: walkDetails[scope.Details()]})
		if err != nil {
			return
		}
		kind = scope.Details()
	}
	w.kinds[kind]++
	w.checkCall(t, k, wire(sent.Bearer()))
}

// revoke ends a token, a grant, a subject or a client.
func (w *walk) revoke(t *rapid.T) {
	if len(w.tokens) == 0 || !oneOf(t, 10, "at all") {
		return
	}
	w.revoked.add(w.something(t))
}

// something is what ends at least one token.
func (w *walk) something(t *rapid.T) (revocation.Kind, string) {
	c := rapid.SampledFrom(w.tokens).Draw(t, "revoked").claims
	switch rapid.Uint64().Draw(t, "what") % 6 {
	case 0:
		return revocation.Grant, c["txn"].(string)
	case 1:
		return revocation.Subject, c["sub"].(string)
	case 2:
		return revocation.Client, c["client_id"].(string)
	}
	return revocation.Token, c["jti"].(string)
}

// race revokes at the same moment as exchanges run.
func (w *walk) race(t *rapid.T) {
	var all []*drawn
	for range 3 {
		if d := w.request(t); d != nil {
			all = append(all, d)
		}
	}
	if len(all) == 0 || !oneOf(t, 10, "at all") {
		return
	}
	kind, name := w.something(t)
	made := make([]*known, len(all))
	var wg sync.WaitGroup
	wg.Go(func() { w.revoked.add(kind, name) })
	for i, d := range all {
		wg.Go(func() {
			if resp, err := w.Issue(t.Context(), d.TokenRequest); err == nil {
				made[i] = &known{raw: resp.AccessToken, claims: wire(resp.AccessToken), parent: d.subject, tool: d.Form.Has("authorization_details")}
			}
		})
	}
	wg.Wait()
	for _, k := range made {
		if k != nil {
			w.tokens = append(w.tokens, k)
		}
	}
}

// nothingRevokedLives: who comes of what was revoked is refused everywhere (G11).
func (w *walk) nothingRevokedLives(t *rapid.T) {
	v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: signer{key}, Now: w.now, Revocations: w.revoked})
	for _, k := range w.tokens {
		if !w.ended(k) {
			continue
		}
		proof := token.Confirmation(proofOf(k.claims["cnf"]))
		_, err1 := v.ParseSubject(t.Context(), k.raw, proof)
		_, err2 := v.ParseTool(t.Context(), k.raw, k.claims["aud"].(string), proof)
		if err1 == nil || err2 == nil {
			t.Fatalf("a token whose ancestor was revoked is taken: %v", k.claims)
		}
	}
}

// ended follows the line of parents by itself, and the entries one by one.
func (w *walk) ended(k *known) bool {
	w.revoked.mu.Lock()
	defer w.revoked.mu.Unlock()
	for ; k != nil; k = k.parent {
		c := k.claims
		for _, e := range w.revoked.entries {
			old := int64(c["iat"].(float64)) <= e.NotBefore.Unix()
			switch {
			case e.Kind == revocation.Token && e.Name == c["jti"], e.Kind == revocation.Grant && e.Name == c["txn"]:
				return true
			case e.Kind == revocation.Subject && old && (e.Name == c["sub"] || acted(c, e.Name)):
				return true
			case e.Kind == revocation.Client && old && (acted(c, e.Name) || e.Name == c["sub"] && (c["workload"] == true || c["sub"] == c["client_id"])):
				return true
			}
		}
	}
	return false
}

// acted reports whether the name presents the token or is an actor of it.
func acted(c map[string]any, name string) bool {
	return c["client_id"] == name || slices.ContainsFunc(chain(c), func(a map[string]any) bool { return a["client_id"] == name || a["sub"] == name })
}
