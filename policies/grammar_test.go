package policies_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// Few names of each kind, so that what is granted, denied and asked meets.
var (
	grammarRoles     = []string{"a", "b", "c", "d"}
	grammarServers   = []string{"s", "t"}
	grammarTools     = []string{"list", "read", "send", "drop"}
	grammarResources = []string{"file:///docs/*", "file:///docs/a.md", "config://app", "*"}
	grammarURIs      = []string{"file:///docs/a.md", "file:///docs/sub/b.md", "config://app", "mem://x"}
)

// maybe draws yes once in n times.
func maybe(t *rapid.T, label string, n int) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

func pick[T any](t *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(t, label) }

func some(t *rapid.T, label string, of ...string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 1, len(of), rapid.ID).Draw(t, label)
}

// drawDoc draws a policy of the whole language in which all names refer to something.
func drawDoc(t *rapid.T) modelDoc {
	doc := modelDoc{Version: 1, Hours: map[string]oneOrMany[modelWindow]{
		"office": {{Days: []string{"mon", "tue", "wed", "thu", "fri"}, From: "09:00", To: "18:00", Zone: "Asia/Seoul"}},
		"night":  {{From: "22:00", To: "24:00", Zone: "Europe/Berlin"}, {From: "00:00", To: "06:00", Zone: "Europe/Berlin"}},
	}, Risks: map[string]modelConditions{}, Servers: map[string]modelFacts{}, Templates: map[string]modelRole{}, Roles: map[string]modelRole{}, Deny: map[string]modelDenial{}}
	names := some(t, "roles", grammarRoles...)
	for _, risk := range subset(t, "risks", "low", "high") {
		c := drawConditions(t, names, 4)
		c.Arguments, c.Filter, c.Risk = nil, nil, ""
		doc.Risks[risk] = c
	}
	for _, server := range subset(t, "facts", grammarServers...) {
		doc.Servers[server] = modelFacts{All: drawConditions(t, names, 12), modelItems: drawItems(t, names, 6).facts()}
	}
	// Each template has tools of its own: two that grant one tool are another test's.
	doc.Templates["one"] = modelRole{modelConditions: drawConditions(t, names, 12), Servers: drawServers(t, names)}
	for _, name := range names {
		doc.Roles[name] = drawRole(t, names, doc.Templates)
	}
	for _, name := range subset(t, "denials", "x", "y") {
		doc.Deny[name] = drawDenial(t)
	}
	return doc
}

func drawRole(t *rapid.T, names []string, templates map[string]modelRole) modelRole {
	r := modelRole{Who: drawWho(t), modelConditions: drawConditions(t, names, 10), Servers: drawServers(t, names)}
	if !maybe(t, "template", 2) {
		return r
	}
	r.Template = oneOrMany[string]{"one"}
	for _, server := range slices.Sorted(maps.Keys(templates["one"].Servers)) {
		for _, tool := range slices.Sorted(maps.Keys(templates["one"].Servers[server].Tools)) {
			if !maybe(t, "omit", 5) {
				continue
			}
			own := r.Servers[server]
			if own.Tools == nil {
				own.Tools = modelNames{}
			}
			own.Tools[tool] = modelConditions{omit: true}
			r.Servers[server] = own
		}
	}
	return r
}

func drawWho(t *rapid.T) *modelWho {
	w := &modelWho{Groups: some(t, "groups", "staff", "admin")}
	if maybe(t, "users", 3) {
		w.Users = some(t, "users", "alice", "agent")
	}
	if maybe(t, "clients", 3) {
		w.Clients = some(t, "clients", "agent", "alice", "spiffe://example.org/agent/*", "spiffe://example.org/agent/x")
	}
	if maybe(t, "claims", 3) {
		w.Claims = map[string]oneOrMany[any]{"department": drawValues(t)}
	}
	return w
}

func drawValues(t *rapid.T) oneOrMany[any] {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]any{"finance", "treasury", 3, "3", true}), 1, 3, rapid.ID).Draw(t, "values")
}

func drawServers(t *rapid.T, names []string) map[string]modelItems {
	out := map[string]modelItems{}
	for _, server := range some(t, "servers", grammarServers...) {
		out[server] = drawItems(t, names, 6)
	}
	return out
}

// drawItems draws tools, resources and prompts with conditions, each once in n times.
func drawItems(t *rapid.T, names []string, n int) modelItems {
	i := modelItems{Tools: modelNames{}, Resources: modelNames{}, Prompts: modelNames{}}
	for _, tool := range some(t, "tools", grammarTools...) {
		i.Tools[tool] = drawConditions(t, names, n)
	}
	for _, uri := range subset(t, "resources", grammarResources...) {
		c := drawConditions(t, names, n)
		c.Arguments, c.Filter = nil, nil
		i.Resources[uri] = c
	}
	if maybe(t, "prompt", 3) {
		c := drawConditions(t, names, n)
		c.Filter = nil
		i.Prompts["sum"] = c
	}
	return i
}

// facts leaves out those that say nothing.
func (i modelItems) facts() modelItems {
	for _, names := range []modelNames{i.Tools, i.Resources, i.Prompts} {
		maps.DeleteFunc(names, func(_ string, c modelConditions) bool { return reflect.ValueOf(c).IsZero() })
	}
	return i
}

func drawDenial(t *rapid.T) modelDenial {
	d := modelDenial{Servers: map[string]modelItems{}}
	for _, server := range some(t, "servers", grammarServers...) {
		d.Servers[server] = modelItems{Tools: modelNames{pick(t, "tool", grammarTools...): {}}, Resources: modelNames{pick(t, "resource", grammarResources[:3]...): {}}}
	}
	if maybe(t, "who", 2) {
		d.Who = drawWho(t)
	}
	if maybe(t, "hours", 2) {
		d.Hours = pick(t, "hours", "office", "night")
	}
	return d
}

// drawConditions draws each condition once in n times. What they ask for can be had: the
// login, key, claims and arguments of best.
func drawConditions(t *rapid.T, names []string, n int) modelConditions {
	var c modelConditions
	if maybe(t, "when", n) {
		c.When = map[string]oneOrMany[any]{pick(t, "claim", "department", "level"): drawValues(t)}
	}
	if maybe(t, "hours", n) {
		c.Hours = pick(t, "hours", "office", "night")
	}
	if maybe(t, "acr", n) {
		c.ACR = append([]string{"gold"}, subset(t, "acr", "silver")...)
	}
	if maybe(t, "max_age", n) {
		c.MaxAge = pick(t, "max_age", "1m", "15m", "2h")
	}
	if maybe(t, "risk", n) {
		c.Risk = pick(t, "risk", "low", "high")
	}
	c.Bound = maybe(t, "bound", n)
	if maybe(t, "approval", n) {
		c.Approval = drawApproval(t, names)
	}
	drawTerms(t, &c, n)
	for _, name := range slices.Sorted(maps.Keys(grammarConstraints)) {
		if maybe(t, "argument", 2*n) {
			if c.Arguments == nil {
				c.Arguments = map[string]modelConstraint{}
			}
			constraint := pick(t, "constraint", grammarConstraints[name]...)
			constraint.Optional = maybe(t, "optional", 3)
			c.Arguments[name] = constraint
		}
	}
	return c
}

func drawApproval(t *rapid.T, names []string) *modelApproval {
	a := &modelApproval{By: some(t, "by", names...), Within: pick(t, "within", "1m", "15m")}
	if maybe(t, "approver's acr", 3) {
		a.ACR = append([]string{"gold"}, subset(t, "acr", "silver")...)
	}
	if maybe(t, "approver's age", 3) {
		a.MaxAge = pick(t, "max_age", "1m", "15m")
	}
	return a
}

func drawTerms(t *rapid.T, c *modelConditions, n int) {
	if maybe(t, "filter", n) {
		f := modelFilter{At: pick(t, "at", "/records", ""), Field: pick(t, "field", "owner", "team")}
		if maybe(t, "by claim", 2) {
			f.Claim = pick(t, "claim", "email", "sub", "absent")
		} else {
			f.In = drawValues(t)
		}
		c.Filter = oneOrMany[modelFilter]{f}
	}
	if maybe(t, "limit", n) {
		c.Limits = []modelLimit{{Calls: pick(t, "calls", 1, 100), Per: pick(t, "per", "1m", "2h"), By: pick(t, "by", "subject", "client", "role", "tool")}}
		if maybe(t, "concurrent", 2) {
			c.Limits = append(c.Limits, modelLimit{Concurrent: pick(t, "concurrent", 1, 2), By: "client"})
		}
	}
	if maybe(t, "redact", n) {
		c.Redact = some(t, "redact", "email", "phone", "card", "iban", "secrets")
	}
}

func ptr[T any](v T) *T { return &v }

// grammarConstraints are what is asked of arguments; grammarArguments are what they may
// be, the first of each of which is what every constraint takes.
var grammarConstraints = map[string][]modelConstraint{
	"limit": {{Max: ptr(100.0)}, {Min: ptr(1.0), Max: ptr(5.0)}, {Enum: []any{5, "all", true}}, {Min: ptr(4.5)}},
	"to":    {{Domains: []string{"*.example.com"}}, {Domains: []string{"a.example.com", "example.org"}}, {MaxLength: ptr(25)}, {Pattern: "https://[a-z./]+|b"}},
	"file":  {{Paths: []string{"/srv/data/*"}}, {Paths: []string{"/srv/x.txt", "/srv/*"}}},
	"owner": {{Claim: "email"}, {Pattern: "[a-z]+@.*"}},
	"me":    {{Claim: "sub"}},
}

var grammarArguments = map[string][]string{
	"limit": {`5`, `5.0`, `"5"`, `100`, `101`, `-1`, `null`, `[]`, `[5,5]`, `[5,101]`, `[[5]]`, `{}`, `true`, `"all"`},
	"to": {`"https://a.example.com/"`, `"bob@a.example.com"`, `"a.example.com"`, `"example.com"`, `"https://evil.test/"`, `"https://a.example.com.evil.test/"`,
		`"https://evil.test/a.example.com"`, `"https://a.example.com@evil.test/"`, `["https://a.example.com/","evil.test"]`, `["https://a.example.com/","a.example.com"]`, `"b"`, `"bb"`, `5`},
	"file":  {`"/srv/data/x"`, `"/srv/data/a/b"`, `"/srv/data"`, `"/srv/data/../x"`, `"/srv/x.txt"`, `"srv/data/x"`, `"/srv//data/x"`, `"/srv/data/%2e%2e/x"`, `"/srv/data/.."`, `["/srv/data/x","/etc/passwd"]`},
	"owner": {`"alice@example.com"`, `"bob@example.com"`, `"alice@example.com "`, `["alice@example.com"]`, `["alice@example.com","bob@example.com"]`, `3`, `null`},
	"me":    {`"alice"`, `"agent"`, `["alice"]`, `"Alice"`},
}

func drawArguments(t *rapid.T) jsontext.Value {
	if maybe(t, "visible", 4) {
		return nil
	}
	var members []string
	for _, name := range slices.Sorted(maps.Keys(grammarArguments)) {
		switch values := grammarArguments[name]; pick(t, name, "best", "best", "best", "any", "absent") {
		case "best":
			members = append(members, `"`+name+`":`+values[0])
		case "any":
			members = append(members, `"`+name+`":`+pick(t, "value", values...))
		}
	}
	return jsontext.Value("{" + strings.Join(members, ",") + "}")
}

// drawCaller draws who asks, with what login, and when.
func drawCaller(t *rapid.T) policies.Request {
	q := policies.Request{Subject: subject(pick(t, "subject", "alice", "alice", "bob", "agent", "spiffe://example.org/agent/x")), ClientID: identity.MustClientID(pick(t, "client", "editor", "editor", "agent", "spiffe://example.org/agent/x"))}
	q.Workload = maybe(t, "workload", 8)
	q.Groups = strings.Fields(pick(t, "groups", "staff", "staff", "admin", "staff admin", "admin staff other", ""))
	claims := map[string]any{}
	for _, name := range subset(t, "claims", "department", "level", "email") {
		claims[name] = pick[any](t, "claim", "finance", "3", 3, true, []string{"treasury", "x"}, "alice@example.com", []string{"bob@example.com", "alice@example.com"})
	}
	var err error
	if q.Claims, err = json.Marshal(claims, json.Deterministic(true)); err != nil {
		t.Fatal(err)
	}
	q.Time = pick(t, "time", time.Date(2026, 11, 20, 9, 0, 0, 0, zone("Asia/Seoul")), time.Date(2026, 11, 20, 23, 0, 0, 0, zone("Europe/Berlin")), time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	q.ACR = pick(t, "acr", "", "gold", "gold", "silver", "bronze")
	if !maybe(t, "no time of the login", 4) {
		q.AuthTime = q.Time.Add(-pick(t, "ago", 0, time.Minute, 15*time.Minute, 15*time.Minute+time.Second, 3*time.Hour))
	}
	q.Bound = maybe(t, "bound", 2)
	return q
}

// drawInsider draws alice, who has most roles, and the claim that arguments may have to
// equal.
func drawInsider(t *rapid.T) policies.Request {
	q := drawCaller(t)
	q.Subject, q.ClientID, q.Workload, q.Groups = subject("alice"), identity.MustClientID("editor"), false, []string{"staff", "admin"}
	q.Claims = jsontext.Value(pick(t, "claims", `{"email":"alice@example.com"}`, `{"department":"finance","email":["x","alice@example.com"],"level":3}`))
	return q
}

// drawAsker draws an insider, or anybody.
func drawAsker(t *rapid.T) policies.Request {
	if maybe(t, "anybody", 2) {
		return drawCaller(t)
	}
	return drawInsider(t)
}

// everything asks the caller's questions of all that there is, with one more of each kind.
func everything(t *rapid.T, q policies.Request) (out []policies.Request) {
	arguments := drawArguments(t)
	for _, q.Server = range append(grammarServers, "other") {
		for _, tool := range append(grammarTools, "new") {
			c := q
			c.Action, c.Tool, c.Arguments = policies.ActionCallTool, tool, arguments
			out = append(out, c)
		}
		for _, uri := range grammarURIs {
			c := q
			c.Action, c.Resource = policies.ActionReadResource, uri
			out = append(out, c)
		}
		c := q
		c.Action, c.Prompt, c.Arguments = policies.ActionGetPrompt, "sum", arguments
		out = append(out, c)
	}
	return out
}
