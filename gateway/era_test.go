package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/audit"
)

func TestEraOfARequest(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	bearer := w.token(tokenSpec{subject: "alice"})
	meta := func(version string) string {
		return `"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"` + version + `","io.modelcontextprotocol/clientCapabilities":{}}}`
	}
	tests := []struct {
		name, body string
		headers    []string
		status     int
		want       string
	}{
		{"modern in both places", `{"jsonrpc":"2.0","id":1,"method":"tools/list",` + meta("2026-07-28") + `}`, []string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list"}, 200, `"read_message"`},
		{"modern in _meta, no header", `{"jsonrpc":"2.0","id":1,"method":"tools/list",` + meta("2026-07-28") + `}`, []string{"Mcp-Method", "tools/list"}, 400, `"code":-32020`},
		{"modern in the header, no _meta", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, []string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list"}, 400, `"code":-32602`},
		{"a version to come", `{"jsonrpc":"2.0","id":1,"method":"tools/list",` + meta("2027-01-01") + `}`, []string{"MCP-Protocol-Version", "2027-01-01", "Mcp-Method", "tools/list"}, 400, `"code":-32022`},
		{"a version to come, in the header alone", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, []string{"MCP-Protocol-Version", "2027-01-01", "Mcp-Method", "tools/list"}, 400, `"code":-32602`},
		{"a session version in modern _meta", `{"jsonrpc":"2.0","id":1,"method":"tools/list",` + meta("2025-11-25") + `}`, []string{"MCP-Protocol-Version", "2025-11-25", "Mcp-Method", "tools/list"}, 400, `"code":-32022`},
		{"initialize with modern _meta", `{"jsonrpc":"2.0","id":1,"method":"initialize",` + meta("2026-07-28") + `}`, []string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "initialize"}, 404, `"code":-32601`},
		{"server/discover of the session era", `{"jsonrpc":"2.0","id":1,"method":"server/discover"}`, nil, 200, `"code":-32601`},
		{"a notification of the stateless era", `{"jsonrpc":"2.0","method":"notifications/initialized",` + meta("2026-07-28") + `}`, []string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "notifications/initialized"}, 404, `"code":-32601`},
		{"neither, and no session", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, nil, 400, `Mcp-Session-Id is missing`},
		{"a version that is none", `{"jsonrpc":"2.0","id":1,"method":"tools/list",` + meta("") + `}`, []string{"Mcp-Method", "tools/list"}, 400, `"code":-32602`},
		{"capabilities that are none", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}}}`, []string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list"}, 400, `"code":-32602`},
		{"a name in _meta that folds to one of the protocol's", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"IO.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, nil, 400, `"code":-32602`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := w.do("POST", w.url, bearer, tt.body, tt.headers...)
			if r.status != tt.status || !strings.Contains(r.body, tt.want) {
				t.Errorf("%s", r)
			}
			if tt.want == `"code":-32022` && !strings.Contains(r.body, `"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],"requested":"20`) {
				t.Errorf("data: %s", r)
			}
		})
	}
}

// In the stateless era every unknown method is 404 with -32601, whoever has what session;
// those that only the other era has, too.
func TestUnknownMethodsOfTheStatelessEra(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	bearer := w.token(tokenSpec{subject: "alice", scope: allScopes})
	for _, method := range []string{"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list", "tasks/get", "tasks/result", "tasks/cancel", "tools/Call", "tools/call ", "roots/list", "sampling/createMessage", "x"} {
		for _, session := range []string{"-", w.session(tokenSpec{subject: "alice"}).id, "made-up"} {
			r := w.ask(request{bearer: bearer, method: method, params: `"uri":"mail://inbox/1",`, headers: []string{"Mcp-Session-Id", session, "Mcp-Method", "=?base64?" + base64of(method) + "?="}})
			if r.status != http.StatusNotFound || !strings.Contains(r.body, `"id":7,"error":{"code":-32601`) {
				t.Errorf("%s: %s", method, r)
			}
			if e := w.last(); e.Kind != audit.Denial || e.Reason != "unknown_method" {
				t.Errorf("%s: audit %+v", method, e)
			}
		}
	}
}

// A request of the stateless era is of no session, whatever its headers say: it is served
// alike, and the server hears of none.
func TestStatelessRequestHasNoSession(t *testing.T) {
	w := newWorld(t)
	bob := w.session(tokenSpec{subject: "bob"})
	w.up.statelessOnly()
	for _, id := range []string{"-", "", "made-up", bob.id} {
		r := w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/call", params: `"name":"list_messages",`, headers: []string{"Mcp-Session-Id", id, "Last-Event-ID", "17"}})
		if r.status != 200 || !strings.Contains(r.body, `"resultType":"complete"`) || r.header.Get("Mcp-Session-Id") != "" {
			t.Errorf("%q: %s", id, r)
		}
		if r := w.ask(request{bearer: w.token(tokenSpec{subject: "alice"}), method: "tools/list", headers: []string{"Mcp-Session-Id", id}}); strings.Contains(r.body, "send_message") {
			t.Errorf("%q: alice sees what bob does: %s", id, r)
		}
	}
	for _, c := range w.up.calls("tools/call") {
		if c.header.Get("Mcp-Session-Id") != "" || c.header.Get("Last-Event-ID") != "" {
			t.Errorf("the server got %v", c.header)
		}
	}
	if r := w.do("GET", w.url, bob.bearer, "", "MCP-Protocol-Version", "2026-07-28"); r.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", r)
	}
}

// A3: what the headers say and the body does not is refused, and nothing comes to the server.
func TestHeaderThatSaysOtherThanTheBody(t *testing.T) {
	call := func(headers ...string) request {
		return request{method: "tools/call", params: `"name":"list_messages","arguments":{},`, headers: headers}
	}
	tests := []struct {
		name  string
		q     request
		good  bool
		trace string // of the message
	}{
		{"as they should be", call(), true, ""},
		{"a name in base64", call("Mcp-Name", "=?base64?bGlzdF9tZXNzYWdlcw==?="), true, ""},
		{"header names in other case", call("mcp-name", "list_messages"), true, ""},
		{"the name of another tool", call("Mcp-Name", "read_message"), false, "Mcp-Name is not what the body says"},
		{"the name in another case", call("Mcp-Name", "List_messages"), false, "Mcp-Name is not"},
		{"no name", call("Mcp-Name", "-"), false, "Mcp-Name is missing"},
		{"an empty name", call("Mcp-Name", ""), false, "Mcp-Name is not"},
		{"the name twice", call("Mcp-Name", "list_messages", "Mcp-Name", "list_messages"), false, "more than once"},
		{"two names", call("Mcp-Name", "list_messages", "Mcp-Name", "read_message"), false, "more than once"},
		{"another name in base64", call("Mcp-Name", "=?base64?cmVhZF9tZXNzYWdl?="), false, "Mcp-Name is not"},
		{"broken base64", call("Mcp-Name", "=?base64?!!!?="), false, "is not base64"},
		{"base64 without padding", call("Mcp-Name", "=?base64?bGlzdF9tZXNzYWdlcw?="), false, "is not base64"},
		{"base64 with bits left over", call("Mcp-Name", "=?base64?bGlzdF9tZXNzYWdlcx==?="), false, "is not base64"},
		{"base64 twice", call("Mcp-Name", "=?base64?PT9iYXNlNjQ/YkdsemRGOXRaWE56WVdkbGN3PT0/PQ==?="), false, "Mcp-Name is not"},
		{"the marker in other case", call("Mcp-Name", "=?BASE64?bGlzdF9tZXNzYWdlcw==?="), false, "Mcp-Name is not"},
		{"bytes that are no ASCII", call("Mcp-Name", "list_messages\xc3\xa9"), false, "has characters"},
		{"another method", call("Mcp-Method", "tools/list"), false, "Mcp-Method is not"},
		{"the method in another case", call("Mcp-Method", "Tools/Call"), false, "Mcp-Method is not"},
		{"no method", call("Mcp-Method", "-"), false, "Mcp-Method is missing"},
		{"the method twice", call("Mcp-Method", "tools/call", "Mcp-Method", "tools/call"), false, "more than once"},
		{"no version", call("MCP-Protocol-Version", "-"), false, "MCP-Protocol-Version is missing"},
		{"an old version", call("MCP-Protocol-Version", "2025-11-25"), false, "MCP-Protocol-Version is not"},
		{"the version twice", call("MCP-Protocol-Version", "2026-07-28", "MCP-Protocol-Version", "2026-07-28"), false, "more than once"},
		{"a version to come", call("MCP-Protocol-Version", "2027-01-01"), false, "MCP-Protocol-Version is not"},
		{"the name of a prompt", request{method: "prompts/get", params: `"name":"summarize",`, headers: []string{"Mcp-Name", "other"}}, false, "Mcp-Name is not"},
		{"the URI of a resource", request{method: "resources/read", params: `"uri":"mail://inbox/1",`, headers: []string{"Mcp-Name", "mail://inbox/2"}}, false, "Mcp-Name is not"},
		{"a URI that is no ASCII, as it is", request{method: "resources/read", params: `"uri":"mail://inbox/é",`, headers: []string{"Mcp-Name", "mail://inbox/é"}}, false, "has characters"},
		{"a URI that is no ASCII, in base64", request{method: "resources/read", params: `"uri":"mail://inbox/é",`, headers: []string{"Mcp-Name", "=?base64?" + base64of("mail://inbox/é") + "?="}}, true, ""},
	}
	w := newWorld(t, policy(t, wide))
	w.up.statelessOnly()
	w.up.onResult("resources/read", `{"contents":[]}`)
	bearer := w.token(tokenSpec{subject: "alice", scope: allScopes})
	w.ask(request{bearer: bearer, method: "tools/list"})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.up.calls(tt.q.method))
			tt.q.bearer = bearer
			r := w.ask(tt.q)
			switch sent := len(w.up.calls(tt.q.method)) - before; {
			case tt.good && (r.status != 200 || sent != 1 || !strings.Contains(r.body, "result")):
				t.Errorf("%s, %d sent", r, sent)
			case !tt.good && (r.status != 400 || sent != 0 || !strings.Contains(r.body, `"code":-32020`) || !strings.Contains(r.body, tt.trace)):
				t.Errorf("%s, %d sent", r, sent)
			case !tt.good && (w.last().Kind != audit.Denial || w.last().Reason != "header_mismatch"):
				t.Errorf("audit %+v", w.last())
			}
		})
	}
}

// A3: with an old version the headers mean nothing, and decide nothing: the body does. None
// of them comes to the server.
func TestHeadersOfTheStatelessEraMeanNothingInASession(t *testing.T) {
	w := newWorld(t)
	s := w.session(tokenSpec{subject: "alice"})
	lie := []string{"Mcp-Method", "tools/list", "Mcp-Name", "list_messages", "Mcp-Param-To", "x", "MCP-Protocol-Version", "2025-11-25"}
	if r := s.post(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"send_message","arguments":{}}}`, lie...); !strings.Contains(r.body, "Unknown tool") {
		t.Errorf("a hidden tool behind the header of another: %s", r)
	}
	lie[3] = "send_message"
	if r := s.post(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_messages","arguments":{}}}`, lie...); !strings.Contains(r.body, "done") {
		t.Errorf("a tool of hers: %s", r)
	}
	for _, c := range w.up.calls("tools/call") {
		for name := range c.header {
			if name == "Mcp-Method" || name == "Mcp-Name" || strings.HasPrefix(name, "Mcp-Param-") {
				t.Errorf("the server got %s", name)
			}
		}
	}
	if len(w.up.calls("tools/call")) != 1 {
		t.Error("the hidden tool was called")
	}
}

const mirroringTool = `{"name":"list_messages","inputSchema":{"type":"object","properties":{` +
	`"region":{"type":"string","x-mcp-header":"Region"},"limit":{"type":"integer","x-mcp-header":"Limit"},"all":{"type":"boolean","x-mcp-header":"all"},` +
	`"deep":{"type":"object","properties":{"er":{"type":"object","properties":{"id":{"type":["string","null"]},"key":{"type":"string","x-mcp-header":"Key"}}}}},` +
	`"plain":{"type":"string"}}}}`

// A3: the same for the arguments that are repeated in headers.
func TestArgumentHeaderThatSaysOtherThanTheBody(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	w.up.setTools(mirroringTool)
	bearer := w.token(tokenSpec{subject: "alice"})
	w.ask(request{bearer: bearer, method: "tools/list"})
	tests := []struct {
		name, arguments string
		headers         []string
		mirrored        map[string]string // at the server; nil: refused
	}{
		{"none", `{"plain":"x"}`, nil, map[string]string{}},
		{"each", `{"region":"eu","limit":42,"all":true,"deep":{"er":{"key":"k"}}}`, []string{"Mcp-Param-Region", "eu", "Mcp-Param-Limit", "42", "Mcp-Param-All", "true", "Mcp-Param-Key", "k"},
			map[string]string{"Mcp-Param-Region": "eu", "Mcp-Param-Limit": "42", "Mcp-Param-All": "true", "Mcp-Param-Key": "k"}},
		{"missing", `{"region":"eu"}`, nil, nil},
		{"another value", `{"region":"eu"}`, []string{"Mcp-Param-Region", "us"}, nil},
		{"the value in another case", `{"region":"eu"}`, []string{"Mcp-Param-Region", "EU"}, nil},
		{"twice", `{"region":"eu"}`, []string{"Mcp-Param-Region", "eu", "Mcp-Param-Region", "eu"}, nil},
		{"there without its argument", `{}`, []string{"Mcp-Param-Region", "eu"}, nil},
		{"empty without its argument", `{}`, []string{"Mcp-Param-Region", ""}, nil},
		{"an empty argument", `{"region":""}`, []string{"Mcp-Param-Region", ""}, map[string]string{"Mcp-Param-Region": ""}},
		{"there for null", `{"region":null}`, []string{"Mcp-Param-Region", "null"}, nil},
		{"42.0 for 42", `{"limit":42}`, []string{"Mcp-Param-Limit", "42.0"}, map[string]string{"Mcp-Param-Limit": "42"}},
		{"42 for 42.0", `{"limit":42.0}`, []string{"Mcp-Param-Limit", "42"}, map[string]string{"Mcp-Param-Limit": "42.0"}},
		{"43 for 42", `{"limit":42}`, []string{"Mcp-Param-Limit", "43"}, nil},
		{"hexadecimal for 42", `{"limit":42}`, []string{"Mcp-Param-Limit", "0x2Ap0"}, nil},
		{"an integer that a double does not tell from another", `{"limit":9007199254740993}`, []string{"Mcp-Param-Limit", "9007199254740992"}, nil},
		{"a string that is the same number, and another string", `{"region":"007"}`, []string{"Mcp-Param-Region", "7"}, nil},
		{"true for false", `{"all":false}`, []string{"Mcp-Param-All", "true"}, nil},
		{"1 for true", `{"all":true}`, []string{"Mcp-Param-All", "1"}, nil},
		{"nested, missing", `{"deep":{"er":{"key":"k"}}}`, nil, nil},
		{"nested, another", `{"deep":{"er":{"key":"k"}}}`, []string{"Mcp-Param-Key", "l"}, nil},
		{"nested, there without its argument", `{"deep":{"er":{}}}`, []string{"Mcp-Param-Key", "k"}, nil},
		{"a member of the same name elsewhere", `{"plain":"k"}`, []string{"Mcp-Param-Key", "k"}, nil},
		{"not ASCII in base64", `{"region":"é\r\nX: y"}`, []string{"Mcp-Param-Region", "=?base64?" + base64of("é\r\nX: y") + "?="}, map[string]string{"Mcp-Param-Region": "=?base64?" + base64of("é\r\nX: y") + "?="}},
		{"spaces at the ends", `{"region":" eu "}`, []string{"Mcp-Param-Region", "=?base64?" + base64of(" eu ") + "?="}, map[string]string{"Mcp-Param-Region": "=?base64?" + base64of(" eu ") + "?="}},
		{"what looks encoded", `{"region":"=?base64?ZXU=?="}`, []string{"Mcp-Param-Region", "=?base64?ZXU=?="}, nil},
		{"the same, encoded", `{"region":"=?base64?ZXU=?="}`, []string{"Mcp-Param-Region", "=?base64?" + base64of("=?base64?ZXU=?=") + "?="}, map[string]string{"Mcp-Param-Region": "=?base64?" + base64of("=?base64?ZXU=?=") + "?="}},
		{"not ASCII as it is", `{"region":"é"}`, []string{"Mcp-Param-Region", "é"}, nil},
		{"one that no definition has", `{"plain":"x"}`, []string{"Mcp-Param-Plain", "other", "Mcp-Param-Authorization", "Bearer x"}, map[string]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.up.calls("tools/call"))
			r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages","arguments":` + tt.arguments + `,`, headers: tt.headers})
			got := w.up.calls("tools/call")[before:]
			if tt.mirrored == nil {
				if r.status != 400 || !strings.Contains(r.body, `"code":-32020`) || len(got) != 0 {
					t.Errorf("%s, %d sent", r, len(got))
				}
				return
			}
			if r.status != 200 || len(got) != 1 {
				t.Fatalf("%s, %d sent", r, len(got))
			}
			for name, v := range got[0].header {
				if want, ok := tt.mirrored[name]; strings.HasPrefix(name, "Mcp-Param-") && (!ok || len(v) != 1 || v[0] != want) {
					t.Errorf("the server got %s: %q", name, v)
				}
			}
			for name := range tt.mirrored {
				if got[0].header.Values(name) == nil {
					t.Errorf("the server did not get %s", name)
				}
			}
		})
	}
}

// A3: a definition whose annotations could set another header, or two the same, is not
// served at all.
func TestAnnotationThatIsNoHeaderOfItsOwn(t *testing.T) {
	for name, schema := range map[string]string{
		"a line break":               `{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A\r\nHost"}}}`,
		"a colon":                    `{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A: b"}}}`,
		"a space":                    `{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A b"}}}`,
		"nothing":                    `{"type":"object","properties":{"a":{"type":"string","x-mcp-header":""}}}`,
		"a number":                   `{"type":"object","properties":{"a":{"type":"string","x-mcp-header":1}}}`,
		"too long":                   `{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"` + strings.Repeat("a", 65) + `"}}}`,
		"twice in other case":        `{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"X"},"b":{"type":"string","x-mcp-header":"x"}}}`,
		"at an object":               `{"type":"object","properties":{"a":{"type":"object","x-mcp-header":"X"}}}`,
		"at a number":                `{"type":"object","properties":{"a":{"type":"number","x-mcp-header":"X"}}}`,
		"at several types":           `{"type":"object","properties":{"a":{"type":["string","null"],"x-mcp-header":"X"}}}`,
		"at the root":                `{"type":"object","x-mcp-header":"X"}`,
		"at the elements of a list":  `{"type":"object","properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"X"}}}}`,
		"in a definition":            `{"type":"object","$defs":{"d":{"type":"string","x-mcp-header":"X"}},"properties":{"a":{"$ref":"#/$defs/d"}}}`,
		"below one of several forms": `{"type":"object","anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"X"}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.up.statelessOnly()
			w.up.setTools(`{"name":"list_messages","inputSchema":` + schema + `}`)
			bearer := w.token(tokenSpec{subject: "alice"})
			if r := w.ask(request{bearer: bearer, method: "tools/list"}); r.status != 200 || strings.Contains(r.body, "list_messages") {
				t.Errorf("list: %s", r)
			}
			if r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`}); !strings.Contains(r.body, "error") || len(w.up.calls("tools/call")) != 0 {
				t.Errorf("call: %s", r)
			}
		})
	}
}

// What an upstream of the stateless era finds missing in a request, its client is told.
func TestErrorsOfTheStatelessEraArePassedOn(t *testing.T) {
	w := newWorld(t)
	w.up.statelessOnly()
	bearer := w.token(tokenSpec{subject: "alice"})
	w.ask(request{bearer: bearer, method: "tools/list"})
	for code, want := range map[string]int{"-32020": 400, "-32021": 400, "-32022": 400, "-32601": 404, "-32602": 200, "-32603": 200} {
		for _, status := range []int{200, 400, 404} {
			w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(status)
				_, _ = rw.Write([]byte(`{"jsonrpc":"2.0","id":` + idOf(r) + `,"error":{"code":` + code + `,"message":"m","data":{"requiredCapabilities":{"sampling":{}}}}}`))
			})
			r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`})
			if r.status != want || !strings.Contains(r.body, `"id":7,"error":{"code":`+code+`,"message":"m","data":{"requiredCapabilities":{"sampling":{}}}}`) {
				t.Errorf("%s with HTTP %d: %s", code, status, r)
			}
		}
	}
}

// What each kind of server says of itself, narrowed to what passes.
func TestDiscoverAndInitializeOfEachKindOfServer(t *testing.T) {
	for name, w := range map[string]*world{"stateless": newWorld(t), "session": newWorld(t)} {
		if name == "stateless" {
			w.up.statelessOnly()
		} else {
			w.up.sessionsOnly()
		}
		bearer := w.token(tokenSpec{subject: "alice"})
		r := w.ask(request{bearer: bearer, method: "server/discover"})
		for _, want := range []string{`"resultType":"complete"`, `"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"]`, `"tools":{"listChanged":true}`, `"cacheScope":"private"`, `"instructions":"be kind"`, `"io.modelcontextprotocol/serverInfo":{"name":"mail"`} {
			if r.status != 200 || !strings.Contains(r.body, want) {
				t.Errorf("%s: discover: %s, want %s", name, r, want)
			}
		}
		if strings.Contains(r.body, "logging") || strings.Contains(r.body, "100000000") {
			t.Errorf("%s: discover offers what does not pass: %s", name, r)
		}
		i := w.do("POST", w.url, bearer, initialize)
		for _, want := range []string{`"protocolVersion":"2025-11-25"`, `"tools":{"listChanged":true}`, `"serverInfo":{"name":"mail"`, `"instructions":"be kind"`} {
			if i.status != 200 || i.header.Get("Mcp-Session-Id") == "" || !strings.Contains(i.body, want) {
				t.Errorf("%s: initialize: %s, want %s", name, i, want)
			}
		}
		if name == "stateless" && (strings.Contains(i.body, "logging") || strings.Contains(i.body, "subscribe")) {
			t.Errorf("initialize offers what has no translation: %s", i)
		}
	}
}
