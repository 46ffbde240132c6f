package gateway_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

const threeServers = `
version: 1
roles:
  reader:
    who: {users: [alice]}
    servers:
      mail: {tools: [list_messages, read_message, a__b, _x], resources: ["mail://inbox/*"], prompts: [summarize]}
      files: {tools: [list_messages]}
  operator:
    who: {users: [bob]}
    servers:
      files: {tools: [send_message]}
      vault: {tools: ["*"]}
`

// house is a gateway in front of three servers, one of each kind and one for bound tokens.
type house struct {
	*world
	files, vault *upstream
}

func newHouse(t *testing.T) house {
	h := house{files: newUpstream(t), vault: newUpstream(t)}
	h.world = newWorld(t, policy(t, threeServers), func(c *gateway.Config) {
		c.All = allOf(t)
		for name, u := range map[string]*upstream{"files": h.files, "vault": h.vault} {
			c.Upstreams = append(c.Upstreams, gateway.Upstream{Name: name, Resource: must(oauth.ParseResource(issuer + "/mcp/" + name))(t), URL: u.URL, Audience: c.Upstreams[0].Audience, SenderConstrained: name == "vault"})
		}
	}).everywhere()
	h.up.setTools(mailTools + `,{"name":"a__b","inputSchema":{"type":"object"}},{"name":"_x","inputSchema":{"type":"object"}}`)
	h.up.statelessOnly()
	h.files.sessionsOnly()
	h.vault.statelessOnly()
	return h
}

func (h house) token(subject, scope string) string {
	return h.world.token(tokenSpec{subject: subject, scope: scope, audience: issuer + "/mcp"})
}

// callers are a client of each era.
func (h house) callers(subject, scope string) map[string]func(method, params string) reply {
	bearer := h.token(subject, scope)
	s := session{h.world, bearer, h.do("POST", h.url, bearer, initialize).header.Get("Mcp-Session-Id")}
	return map[string]func(method, params string) reply{
		"stateless": func(method, params string) reply {
			return h.ask(request{bearer: bearer, method: method, params: params})
		},
		"session": func(method, params string) reply {
			return s.post(`{"jsonrpc":"2.0","id":7,"method":"` + method + `","params":{` + strings.TrimSuffix(params, ",") + `}}`)
		},
	}
}

// sent is how many calls have come to each server.
func (h house) sent() [3]int {
	return [3]int{len(h.up.calls("tools/call")), len(h.files.calls("tools/call")), len(h.vault.calls("tools/call"))}
}

// A1: over all servers a caller sees what it sees at each, under names of their own, and
// calls exactly what it sees: whatever is not there is unknown, alike.
func TestEveryServerListAndCallAgree(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		subject, scope string
		want           []string
	}{
		{"alice", allScopes, []string{"files__list_messages", "mail___x", "mail__a__b", "mail__list_messages", "mail__read_message"}},
		{"bob", allScopes, []string{"files__send_message"}}, // the third one takes only bound tokens
		{"carol", allScopes, nil},
		{"alice", "tool:list_messages", nil}, // of which server?
		{"alice", "tool:list_messages mcp:prompts", nil},
	} {
		for era, ask := range h.callers(c.subject, c.scope) {
			if c.scope == "tool:list_messages" { // may begin nothing here
				if r := ask("tools/list", ""); r.status != http.StatusForbidden && r.status != http.StatusBadRequest {
					t.Errorf("%s, %s: %s", c.subject, era, r)
				}
				continue
			}
			list := ask("tools/list", "")
			got := toolNames(t, list.body)
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s with %s, %s: list %v, want %v: %s", c.subject, c.scope, era, got, c.want, list)
			}
			if era == "stateless" && (!strings.Contains(list.body, `"cacheScope":"private"`) || !strings.Contains(list.body, `"ttlMs":0`)) {
				t.Errorf("%s", list)
			}
			unknown := ask("tools/call", `"name":"none__list_messages",`)
			for _, name := range []string{"files__list_messages", "mail___x", "mail__a__b", "mail__list_messages", "mail__read_message", "mail__send_message", "mail__delete_message", "mail__no_such_tool",
				"files__send_message", "files__read_message", "vault__list_messages", "list_messages", "mail_list_messages", "__list_messages", "mail__", "Mail__list_messages", "*__list_messages", "mail__mail__list_messages", "files__a__b", ""} {
				before, r := h.sent(), ask("tools/call", `"name":"`+name+`","arguments":{`+map[bool]string{true: `"id":"1"`}[name == "mail__read_message"]+`},`)
				switch may := slices.Contains(c.want, name); {
				case may && (!strings.Contains(r.body, `"result"`) || h.sent() == before):
					t.Errorf("%s, %s: %s: %s", c.subject, era, name, r)
				case !may && h.sent() != before:
					t.Errorf("%s, %s: %s was called: %s", c.subject, era, name, r)
				case !may && c.scope == allScopes && name != "" && name != "mail__" && r.body != unknown.body: // without a name nothing is asked for
					t.Errorf("%s, %s: %s: %s, want %s", c.subject, era, name, r, unknown)
				}
			}
		}
	}
	for _, u := range []*upstream{h.up, h.files} {
		for _, r := range u.calls("tools/call") { // by the name that the server knows
			if n := memberIn(memberIn(r.body, "params"), "name"); strings.Contains(n, "mail__") || strings.Contains(n, "files__") {
				t.Errorf("a server got the name %s", n)
			}
		}
	}
}

func TestEveryServerResourcesAndPrompts(t *testing.T) {
	h := newHouse(t)
	h.up.onResult("resources/list", `{"resources":[{"uri":"mail://inbox/1","name":"a"},{"uri":"mail://drafts/2","name":"b"}]}`)
	h.up.onResult("resources/templates/list", `{"resourceTemplates":[{"uriTemplate":"mail://inbox/{x}","name":"a"},{"uriTemplate":"mail://drafts/{x}","name":"b"}]}`)
	h.up.onResult("prompts/list", `{"prompts":[{"name":"summarize"},{"name":"exfiltrate"}]}`)
	h.up.onResult("resources/read", `{"contents":[]}`)
	h.up.onResult("prompts/get", `{"messages":[]}`)
	h.up.onResult("completion/complete", `{"completion":{"values":["v"]}}`)
	for era, ask := range h.callers("alice", allScopes) {
		for method, want := range map[string]string{"resources/list": `"uri":"mail+mail://inbox/1"`, "resources/templates/list": `"uriTemplate":"mail+mail://inbox/{x}"`, "prompts/list": `"name":"mail__summarize"`} {
			if r := ask(method, ""); !strings.Contains(r.body, want) || strings.Contains(r.body, "drafts") || strings.Contains(r.body, "exfiltrate") {
				t.Errorf("%s: %s: %s", era, method, r)
			}
		}
		for _, tt := range []struct {
			method, params string
			ok             bool
		}{
			{"resources/read", `"uri":"mail+mail://inbox/1",`, true}, {"resources/read", `"uri":"mail+mail://drafts/2",`, false}, {"resources/read", `"uri":"mail://inbox/1",`, false},
			{"resources/read", `"uri":"files+mail://inbox/1",`, false}, {"prompts/get", `"name":"mail__summarize",`, true}, {"prompts/get", `"name":"mail__exfiltrate",`, false}, {"prompts/get", `"name":"summarize",`, false},
			{"completion/complete", `"ref":{"type":"ref/prompt","name":"mail__summarize"},"argument":{"name":"a","value":"b"},`, true},
			{"completion/complete", `"ref":{"type":"ref/prompt","name":"mail__exfiltrate"},"argument":{"name":"a","value":"b"},`, false},
			{"completion/complete", `"ref":{"type":"ref/resource","uri":"mail+mail://inbox/{x}"},"argument":{"name":"a","value":"b"},`, true},
			{"completion/complete", `"ref":{"type":"ref/resource","uri":"mail+mail://drafts/{x}"},"argument":{"name":"a","value":"b"},`, false},
		} {
			before := len(h.up.calls(tt.method))
			if r := ask(tt.method, tt.params); strings.Contains(r.body, `"result"`) != tt.ok || (len(h.up.calls(tt.method)) > before) != tt.ok {
				t.Errorf("%s: %s %s: %s", era, tt.method, tt.params, r)
			}
		}
	}
	for _, r := range slices.Concat(h.up.calls("resources/read"), h.up.calls("completion/complete"), h.up.calls("prompts/get")) {
		if strings.Contains(r.body, "mail+") || strings.Contains(r.body, "mail__") || strings.Contains(r.header.Get("Mcp-Name"), "mail__") || strings.Contains(r.header.Get("Mcp-Name"), "mail+") {
			t.Errorf("the server got %s with %s", r.body, r.header.Get("Mcp-Name"))
		}
	}
}

// A26: a server that is dead, or answers nonsense, is left out, and the list says so; the
// others list and are called.
func TestEveryServerButTheDeadOne(t *testing.T) {
	h := newHouse(t)
	h.files.Close()
	for era, ask := range h.callers("alice", allScopes) {
		r := ask("tools/list", "")
		if got := toolNames(t, r.body); len(got) != 4 || !strings.Contains(r.body, `"_meta":{"com.github.wicketgate/unavailable":{"files":"`) {
			t.Errorf("%s: %s", era, r)
		}
		if r := ask("tools/call", `"name":"mail__list_messages",`); !strings.Contains(r.body, `"result"`) {
			t.Errorf("%s: a call of another: %s", era, r)
		}
		if r := ask("tools/call", `"name":"files__list_messages",`); !strings.Contains(r.body, `"code":-32603`) {
			t.Errorf("%s: a call of the dead one: %s", era, r)
		}
		h.up.onJSON("tools/list", `{"jsonrpc":"2.0","id":"another","result":{"tools":[]}}`)
		if r := ask("tools/list", ""); len(toolNames(t, r.body)) != 0 || !strings.Contains(r.body, `"mail":"`) {
			t.Errorf("%s: nonsense: %s", era, r)
		}
		h.up.on("tools/list", nil)
	}
	if !strings.Contains(h.log(), "server left out of a list") {
		t.Error("the log does not say so")
	}
}

// A7: the endpoint is a resource of its own: no token of a server's is good for it, and none of
// it for a server.
func TestEveryServerIsAResourceOfItsOwn(t *testing.T) {
	h := newHouse(t)
	if r := h.ask(request{bearer: h.world.token(tokenSpec{subject: "alice"}), method: "tools/list"}); r.status != http.StatusUnauthorized {
		t.Errorf("the token of a server at the endpoint: %s", r)
	}
	mail := h.at("mail")
	if r := mail.ask(request{bearer: h.token("alice", allScopes), method: "tools/list"}); r.status != http.StatusUnauthorized {
		t.Errorf("its token at a server: %s", r)
	}
	bearer := h.token("alice", allScopes)
	s := session{h.world, bearer, h.do("POST", h.url, bearer, initialize).header.Get("Mcp-Session-Id")}
	direct := session{mail, h.world.token(tokenSpec{subject: "alice"}), s.id}
	if r := direct.post(`{"jsonrpc":"2.0","id":7,"method":"ping"}`); r.status != http.StatusNotFound {
		t.Errorf("its session at a server: %s", r)
	}
	one := mail.session(tokenSpec{subject: "alice"})
	s.id = one.id
	if r := s.post(`{"jsonrpc":"2.0","id":7,"method":"ping"}`); r.status != http.StatusNotFound {
		t.Errorf("a server's session at the endpoint: %s", r)
	}
}

// A24: what the token may and what policy lets are intersected, in lists as in calls.
func TestTwoFiltersAreTheirIntersection(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	w.up.statelessOnly()
	for _, c := range []struct {
		scope string
		want  []string
	}{
		{"mcp:tools", []string{"list_messages", "read_message"}},
		{"tool:list_messages", []string{"list_messages"}},
		{"tool:read_message tool:send_message", []string{"read_message"}},
		{"tool:list_messages tool:read_message", []string{"list_messages", "read_message"}},
		{"tool:delete_message", nil},
		{"mcp:prompts", nil},
	} {
		bearer := w.token(tokenSpec{subject: "alice", scope: c.scope})
		got := toolNames(t, w.ask(request{bearer: bearer, method: "tools/list"}).body)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: list %v, want %v", c.scope, got, c.want)
		}
		for _, name := range []string{"list_messages", "read_message", "send_message", "delete_message"} {
			r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"` + name + `","arguments":{` + map[bool]string{true: `"id":"1"`}[name == "read_message"] + `},`})
			if done := strings.Contains(r.body, `"result"`); done != slices.Contains(c.want, name) {
				t.Errorf("%s: %s: %s", c.scope, name, r)
			}
		}
	}
}

// A25: no list is another caller's, whoever asked before; and a change of policy counts at
// once.
func TestListIsNeverAnotherCallers(t *testing.T) {
	var pdp switched
	pdp.load(t, wide)
	w := newWorld(t, func(c *gateway.Config) { c.PDP = &pdp })
	w.up.statelessOnly()
	want := map[string][]string{"alice": {"list_messages", "read_message"}, "bob": {"list_messages", "send_message"}, "carol": nil, "root": nil}
	for range 2 {
		for _, subject := range []string{"bob", "alice", "carol", "bob", "root", "alice"} {
			stateless := w.ask(request{bearer: w.token(tokenSpec{subject: subject}), method: "tools/list"})
			session := w.session(tokenSpec{subject: subject}).post(`{"jsonrpc":"2.0","id":7,"method":"tools/list"}`)
			for _, r := range []reply{stateless, session} {
				if got := toolNames(t, r.body); !slices.Equal(got, want[subject]) || strings.Contains(r.body, `"public"`) {
					t.Errorf("%s: %v, want %v: %s", subject, got, want[subject], r)
				}
			}
			if !strings.Contains(stateless.body, `"cacheScope":"private"`) {
				t.Errorf("%s", stateless)
			}
		}
		pdp.load(t, accessYAML)
		want = map[string][]string{"alice": {"list_messages", "read_message"}, "bob": {"list_messages", "read_message", "send_message"}, "carol": nil, "root": {"list_messages", "read_message", "send_message", "delete_message"}}
	}
}

// A10: any replica with the same keys serves a session, and none serves another's.
func TestSessionIsServedByEveryReplica(t *testing.T) {
	var cfg gateway.Config
	w := newWorld(t, func(c *gateway.Config) { cfg = *c })
	w.up.quiet()
	other := *w
	replica := &other
	cfg.Sealer = must(keys.Open(t.Context(), w.store, keys.KEK{1}, w.now.Now))(t).Sealer("mcp session")
	replica.serve(must(gateway.New(cfg))(t), cfg.Refusals.(*audit.Refusals))
	alice := w.session(tokenSpec{subject: "alice"})
	there := alice
	there.world = replica
	for name, s := range map[string]session{"here": alice, "there": there} {
		if r := s.call(listMessages); !strings.Contains(r.body, `"result"`) {
			t.Errorf("%s: %s", name, r)
		}
		if r := s.listen(t.Context()); r.StatusCode != 200 {
			t.Errorf("%s: GET %s", name, r.Status)
		}
	}
	for _, c := range w.up.calls("tools/call") {
		if c.header.Get("Mcp-Session-Id") != "upstream-session-1" {
			t.Errorf("in the session %s", c.header.Get("Mcp-Session-Id"))
		}
	}
	for name, spec := range map[string]tokenSpec{"another subject": {subject: "bob"}, "another client": {subject: "alice", client: identityOf("another")}} {
		other := there
		other.bearer = w.token(spec)
		if r := other.call(listMessages); r.status != http.StatusNotFound || replica.last().Reason != "session_not_the_callers" {
			t.Errorf("%s: %s, audit %+v", name, r, replica.last())
		}
		if r := read(t, other.listen(t.Context())); r.status != http.StatusNotFound {
			t.Errorf("%s: GET %s", name, r)
		}
		if r := other.do("DELETE", other.url, other.bearer, "", "Mcp-Session-Id", other.id); r.status != http.StatusNotFound || len(w.up.calls("DELETE")) != 0 {
			t.Errorf("%s: DELETE %s", name, r)
		}
	}
}

// A server behind the endpoint over all servers asks the client as at its own.
func TestEveryServerMayAskItsClient(t *testing.T) {
	h := newHouse(t)
	h.files.asksMidway(t)
	h.up.asksOnce("tools/call")
	bearer := h.token("alice", allScopes)
	s := session{h.world, bearer, h.do("POST", h.url, bearer, elicitingClient).header.Get("Mcp-Session-Id")}
	bob := session{h.world, h.token("bob", allScopes), s.id}
	for name, want := range map[string]string{"files__list_messages": `"heard":{"action":"accept"}`, "mail__list_messages": `"state":"theirs-1"`} {
		req := must(http.NewRequestWithContext(t.Context(), "POST", h.url, strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"`+name+`"}}`)))(t)
		set(req.Header, []string{"Content-Type", "application/json", "Authorization", "Bearer " + bearer, "Mcp-Session-Id", s.id})
		from := lines(must(http.DefaultClient.Do(req))(t))
		question := strings.TrimPrefix(until(t, from, "Sure?"), "data: ")
		answer := `{"jsonrpc":"2.0","id":` + memberIn(question, "id") + `,"result":{"action":"accept"}}`
		if r := bob.post(answer); r.status != http.StatusNotFound {
			t.Errorf("%s: bob answers: %s", name, r)
		}
		if r := s.post(answer); r.status != http.StatusAccepted {
			t.Errorf("%s: alice answers: %s", name, r)
		}
		if r := s.post(answer); r.status == http.StatusAccepted {
			t.Errorf("%s: alice answers twice: %s", name, r)
		}
		if got := until(t, from, `"id":7`); !strings.Contains(got, want) {
			t.Errorf("%s: %s", name, got)
		}
		first := h.ask(request{bearer: bearer, method: "tools/call", params: `"name":"` + name + `",`, capabilities: elicits})
		key := map[bool]string{true: "input", false: "sure"}[name == "files__list_messages"]
		given := `"inputResponses":{"` + key + `":{"action":"accept"}},"requestState":` + stateOf(t, first) + `,`
		if r := h.ask(request{bearer: bearer, method: "tools/call", params: `"name":"` + name + `",` + given, capabilities: elicits}); !strings.Contains(r.body, want) {
			t.Errorf("%s, stateless: %s", name, r)
		}
	}
}

// Its news are those of the gateway: what changes in the lists, and no resources.
func TestEveryServerHasNews(t *testing.T) {
	var pdp switched
	pdp.load(t, wide)
	r := newRevocable(t, func(c *gateway.Config) { c.All, c.PDP = allOf(t), &pdp })
	r.up.statelessOnly()
	at, bearer := r.everywhere(), r.world.token(tokenSpec{subject: "alice", scope: allScopes, audience: issuer + "/mcp"})
	s := session{at, bearer, at.do("POST", at.url, bearer, initialize).header.Get("Mcp-Session-Id")}
	get := lines(s.listen(t.Context()))
	subscription := lines(at.subscribe(t.Context(), bearer, "1", anyNews))
	if got := until(t, subscription, "data:"); !strings.Contains(got, `"notifications":{"toolsListChanged":true}`) {
		t.Errorf("acknowledged %s", got)
	}
	r.beatOnce(2)
	pdp.load(t, accessYAML)
	r.beat()
	for kind, from := range map[string]string{"GET": until(t, get, "data:"), "subscriptions/listen": until(t, subscription, "data:")} {
		if !strings.Contains(from, "tools/list_changed") {
			t.Errorf("%s: %s", kind, from)
		}
	}
	if len(r.up.calls("subscriptions/listen")) != 0 {
		t.Error("a server was asked")
	}
}
