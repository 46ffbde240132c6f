package gateway_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// awkward is a password that no encoding leaves as it is.
const awkward = `p@ss/w0rd+"quo\te"%41=~1234`

// spellings are the ways in which a server may say it. What says whether one is there is
// none of these: see leaks.
var spellings = map[string]func(secret string) string{
	"as it is":          func(s string) string { return s },
	"in a sentence":     func(s string) string { return "the password is " + s + ", is it not?" },
	"in JSON in text":   func(s string) string { return fmt.Sprintf(`{"headers":{"X-Db-Password":%q}}`, s) },
	"base64":            func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64, unpadded":  func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"base64url":         func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"basic credentials": func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("db-alice:"+s)) },
	"percent":           url.QueryEscape,
	"percent, a path":   url.PathEscape,
	"a URL":             func(s string) string { return "postgres://db-alice:" + url.QueryEscape(s) + "@db/app" },
	"hex":               func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":               func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
}

// leaks says how the secret is in what was said, or nothing.
func leaks(said, secret string) string {
	quoted, _ := json.Marshal(secret)
	twice, _ := json.Marshal(string(quoted[1 : len(quoted)-1]))
	low := strings.ToLower(said)
	if strings.Contains(said, secret[:10]) {
		return "in part, or all of it"
	}
	for form, s := range map[string]string{"plain": secret, "quoted": string(quoted[1 : len(quoted)-1]), "quoted twice": string(twice[1 : len(twice)-1]),
		"percent": url.QueryEscape(secret), "percent, a path": url.PathEscape(secret)} {
		if strings.Contains(said, s) {
			return form
		}
	}
	if strings.Contains(low, hex.EncodeToString([]byte(secret))) {
		return "hex"
	}
	for before := range 3 { // wherever it begins, the middle of its base64 is one of three
		b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + secret))
		core := b[4*((before+2)/3) : len(b)-4]
		if url := strings.NewReplacer("+", "-", "/", "_").Replace(core); strings.Contains(said, core) || strings.Contains(said, url) {
			return "base64"
		}
	}
	return ""
}

// surface is a place where a server may say something: it has the server say what in it.
type surface func(u *upstream, what string)

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

const finalSSE = `{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}`

// onEvents answers a method with events, in which ID is that of the request.
func (u *upstream) onEvents(method string, all ...string) {
	u.on(method, func(w http.ResponseWriter, r *http.Request) {
		id, say := idOf(r), events(w)
		for _, e := range all {
			say(strings.ReplaceAll(e, "ID", id))
		}
	})
}

// raw answers with bytes of its own on the connection.
func (u *upstream) raw(method string, answer string) {
	u.on(method, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, answer)
	})
}

// oneLine is text for where a line ends something.
func oneLine(s string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(s) }

var surfaces = map[string]surface{
	"text of a result": func(u *upstream, s string) {
		u.onResult("tools/call", `{"content":[{"type":"text","text":`+quoted(s)+`}]}`)
	},
	"structured content": func(u *upstream, s string) {
		u.onResult("tools/call", `{"content":[],"structuredContent":{"text":`+quoted(s)+`}}`)
	},
	"a name in a result": func(u *upstream, s string) {
		u.onResult("tools/call", `{"content":[],"structuredContent":{`+quoted(s)+`:1}}`)
	},
	"_meta of a result": func(u *upstream, s string) { u.onResult("tools/call", `{"content":[],"_meta":{"x":`+quoted(s)+`}}`) },
	"an error of a tool": func(u *upstream, s string) {
		u.onResult("tools/call", `{"isError":true,"content":[{"type":"text","text":`+quoted(s)+`}]}`)
	},
	"a blob": func(u *upstream, s string) {
		u.onResult("tools/call", `{"content":[{"type":"image","mimeType":"image/png","data":`+quoted(s)+`}]}`)
	},
	"beside the result": func(u *upstream, s string) {
		u.on("tools/call", func(w http.ResponseWriter, r *http.Request) {
			u.json(w, `{"jsonrpc":"2.0","debug":`+quoted(s)+`,"id":`+idOf(r)+`,"result":{"content":[]}}`)
		})
	},
	"an error": func(u *upstream, s string) {
		u.on("tools/call", func(w http.ResponseWriter, r *http.Request) {
			u.json(w, `{"jsonrpc":"2.0","id":`+idOf(r)+`,"error":{"code":1,"message":`+quoted(s)+`}}`)
		})
	},
	"data of an error": func(u *upstream, s string) {
		u.on("tools/call", func(w http.ResponseWriter, r *http.Request) {
			u.json(w, `{"jsonrpc":"2.0","id":`+idOf(r)+`,"error":{"code":1,"message":"m","data":{"x":[`+quoted(s)+`]}}}`)
		})
	},
	"an error with HTTP 400": func(u *upstream, s string) {
		u.on("tools/call", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+idOf(r)+`,"error":{"code":1,"message":`+quoted(s)+`}}`)
		})
	},
	"text of an HTTP 400": func(u *upstream, s string) {
		u.on("tools/call", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, s, 400) })
	},
	"at the cut of an HTTP 400": func(u *upstream, s string) {
		u.on("tools/call", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, strings.Repeat(s+" ", 400), 400) })
	},
	"the content type": func(u *upstream, s string) {
		u.on("tools/call", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/"+strings.Repeat("x", 100)+oneLine(s))
			w.WriteHeader(200)
		})
	},
	"the status line": func(u *upstream, s string) { u.raw("tools/call", "HTTP/1.1 "+oneLine(s)+"\r\n\r\n") },
	"no HTTP":         func(u *upstream, s string) { u.raw("tools/call", s) },
	"a broken header": func(u *upstream, s string) { u.raw("tools/call", "HTTP/1.1 200 OK\r\n"+oneLine(s)+"\r\n\r\n") },
	"a broken trailer": func(u *upstream, s string) {
		u.raw("tools/call", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"+oneLine(s)+"\r\n\r\n")
	},
	"no JSON":     func(u *upstream, s string) { u.onJSON("tools/call", s) },
	"half a JSON": func(u *upstream, s string) { u.onJSON("tools/call", `{"jsonrpc":"2.0",`+quoted(s)+`:`+quoted(s)) },
	"a name twice": func(u *upstream, s string) {
		u.onJSON("tools/call", `{"jsonrpc":"2.0","id":7,"result":{`+quoted(s)+`:1,`+quoted(s)+`:2}}`)
	},
	"the version of JSON-RPC": func(u *upstream, s string) { u.onJSON("tools/call", `{"jsonrpc":`+quoted(s)+`,"id":7,"result":{}}`) },
	"the id": func(u *upstream, s string) {
		u.onJSON("tools/call", `{"jsonrpc":"2.0","id":`+quoted(s)+`,"result":{}}`)
	},

	"a log message": func(u *upstream, s string) {
		u.onEvents("tools/call", event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":`+quoted(s)+`}}`), event("", finalSSE))
	},
	"beside a log message": func(u *upstream, s string) {
		u.onEvents("tools/call", event("", `{"jsonrpc":"2.0","method":"notifications/message","x":`+quoted(s)+`,"params":{"level":"info","data":"d"}}`), event("", finalSSE))
	},
	"progress": func(u *upstream, s string) {
		u.onEvents("tools/call", event("", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":ID,"progress":1,"message":`+quoted(s)+`}}`), event("", finalSSE))
	},
	"a notification": func(u *upstream, s string) {
		u.onEvents("tools/call", event("", `{"jsonrpc":"2.0","method":`+quoted("notifications/"+s)+`}`), event("", finalSSE))
	},
	"an event's id": func(u *upstream, s string) {
		u.onEvents("tools/call", "id: "+oneLine(s)+"\ndata\n\n", event("", finalSSE))
	},
	"an event that is none": func(u *upstream, s string) { u.onEvents("tools/call", event("", oneLine(s))) },
	"a result in an event": func(u *upstream, s string) {
		u.onEvents("tools/call", event("", `{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":`+quoted(s)+`}]}}`))
	},
	"a question": func(u *upstream, s string) {
		u.onEvents("tools/call", event("", `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"systemPrompt":`+quoted(s)+`}}`), event("", finalSSE))
	},
	"an elicitation": func(u *upstream, s string) {
		u.onEvents("tools/call", event("", `{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":`+quoted(s)+`}}`), event("", finalSSE))
	},
	"what is asked for": func(u *upstream, s string) {
		u.statelessOnly()
		u.onResult("tools/call", `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":`+quoted(s)+`}}},"requestState":`+quoted(s)+`}`)
	},

	"the description of a tool": func(u *upstream, s string) {
		u.setTools(`{"name":"list_messages","description":` + quoted(s) + `,"inputSchema":{"type":"object"}}`)
	},
	"the schema of a tool": func(u *upstream, s string) {
		u.setTools(`{"name":"list_messages","inputSchema":{"type":"object","properties":{"a":{"type":"string","default":` + quoted(s) + `}}}}`)
	},
	"the name of a tool": func(u *upstream, s string) {
		u.setTools(`{"name":` + quoted(s) + `,"inputSchema":{"type":"object"}},{"name":` + quoted("x/"+s+strings.Repeat("y", 128)) + `,"inputSchema":{"type":"object"}}`)
	},
	"beside the tools": func(u *upstream, s string) {
		u.onResult("tools/list", `{"tools":[`+mailTools+`],"nextCursor":`+quoted(s)+`,"_meta":{"x":`+quoted(s)+`}}`)
	},
	"a prompt": func(u *upstream, s string) {
		u.onResult("prompts/list", `{"prompts":[{"name":"summarize","description":`+quoted(s)+`}]}`)
	},
	"a resource": func(u *upstream, s string) {
		u.onResult("resources/list", `{"resources":[{"uri":"mail://inbox/1","name":`+quoted(s)+`}]}`)
	},
	"a template": func(u *upstream, s string) {
		u.onResult("resources/templates/list", `{"resourceTemplates":[{"uriTemplate":"mail://inbox/{id}","name":`+quoted(s)+`}]}`)
	},
	"what a prompt says": func(u *upstream, s string) {
		u.onResult("prompts/get", `{"messages":[{"role":"user","content":{"type":"text","text":`+quoted(s)+`}}]}`)
	},
	"what a resource says": func(u *upstream, s string) {
		u.onResult("resources/read", `{"contents":[{"uri":"mail://inbox/1","text":`+quoted(s)+`}]}`)
	},
	"a completion": func(u *upstream, s string) {
		u.onResult("completion/complete", `{"completion":{"values":[`+quoted(s)+`]}}`)
	},
	"the list of a server that fails": func(u *upstream, s string) {
		u.on("prompts/list", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, s, 400) })
	},

	"instructions": func(u *upstream, s string) {
		u.onResult("initialize", `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"n","version":"1"},"instructions":`+quoted(s)+`}`)
	},
	"the server's name": func(u *upstream, s string) {
		u.onResult("initialize", `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":`+quoted(s)+`,"version":"1"}}`)
	},
	"the version": func(u *upstream, s string) {
		u.onResult("initialize", `{"protocolVersion":`+quoted(strings.Repeat("1", 110)+s)+`,"capabilities":{"tools":{}},"serverInfo":{"name":"n","version":"1"}}`)
	},
	"the session's id": func(u *upstream, s string) {
		u.on("initialize", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Mcp-Session-Id", oneLine(s))
			u.result(w, r, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"n","version":"1"}}`)
		})
	},
	"what it discovers": func(u *upstream, s string) {
		u.statelessOnly()
		u.onResult("server/discover", `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":`+quoted(s)+`}`)
	},
	"an unasked message": func(u *upstream, s string) {
		u.onEvents("", event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":`+quoted(s)+`}}`))
	},
	"an unasked event": func(u *upstream, s string) {
		u.onEvents("", "id: "+oneLine(s)+"\nretry: 82736451\ndata\n\n", event("", oneLine(s)))
	},
	"an updated resource": func(u *upstream, s string) {
		u.onEvents("", event("", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"mail://inbox/1","title":`+quoted(s)+`}}`))
	},
	"news of a subscription": func(u *upstream, s string) {
		u.statelessOnly()
		u.onEvents("subscriptions/listen", event("", `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"resourceSubscriptions":["mail://inbox/1",`+quoted(s)+`]}}}`), event("", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"mail://inbox/1","title":`+quoted(s)+`}}`))
	},
}

// chat does everything with the server, and returns all that anybody is told of it: the
// client, the log, the audit log and the store of definitions.
func (w *world) chat() string {
	w.t.Helper()
	var said strings.Builder
	hear := func(r reply) { fmt.Fprintln(&said, r.status, r.header, r.body) }
	bearer := w.token(tokenSpec{subject: "alice", scope: allScopes})
	opened := w.do("POST", w.url, bearer, strings.Replace(initialize, `{"sampling":{}}`, `{"sampling":{},"elicitation":{}}`, 1))
	hear(opened)
	if id := opened.header.Get("Mcp-Session-Id"); id != "" {
		s := session{w, bearer, id}
		for method, params := range map[string]string{"tools/list": "{}", "prompts/list": "{}", "resources/list": "{}", "resources/templates/list": "{}", "tools/call": `{"name":"list_messages","_meta":{"progressToken":7}}`,
			"resources/read": `{"uri":"mail://inbox/1"}`, "prompts/get": `{"name":"summarize"}`, "completion/complete": `{"ref":{"type":"ref/prompt","name":"summarize"},"argument":{"name":"a","value":"b"}}`} {
			hear(s.post(`{"jsonrpc":"2.0","id":7,"method":"` + method + `","params":` + params + `}`))
		}
		if !w.up.answers("server/discover") { // else the stream is the gateway's own
			w.briefly(s.listen, &said)
		}
		hear(s.do("DELETE", s.url, bearer, "", "Mcp-Session-Id", s.id))
	}
	for method, params := range map[string]string{"server/discover": "", "tools/list": "", "prompts/list": "", "resources/list": "", "tools/call": listMessagesStateless, "resources/read": `"uri":"mail://inbox/1",`, "prompts/get": `"name":"summarize",`} {
		hear(w.ask(request{bearer: bearer, method: method, params: params, capabilities: `{"sampling":{},"elicitation":{}}`, meta: `"progressToken":7,`}))
	}
	w.briefly(func(ctx context.Context) *http.Response {
		return w.send(ctx, request{bearer: bearer, method: "subscriptions/listen", params: `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["mail://inbox/1"]},`})
	}, &said)
	if err := w.gateway.Discover(w.t.Context(), "mail"); err != nil {
		fmt.Fprintln(&said, err)
	}
	_ = w.gateway.Close(w.t.Context())
	said.WriteString(w.log())
	said.Write(must(os.ReadFile(w.audit))(w.t))
	for _, p := range must(w.store.Pins(w.t.Context(), "mail"))(w.t) {
		fmt.Fprintln(&said, p.Tool, string(p.Definition), string(p.Pending.Definition))
	}
	return said.String()
}

// answers reports whether a method has another answer than the ordinary one.
func (u *upstream) answers(method string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.answer[method] != nil
}

// briefly hears a stream until it says something of its own, or ends.
func (w *world) briefly(open func(context.Context) *http.Response, said *strings.Builder) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	resp := open(ctx)
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		fmt.Fprintln(said, lines.Text())
		if strings.Contains(lines.Text(), "[credential]") {
			return
		}
	}
}

// TestServerThatSaysItsCredentialBack: wherever it does, however it spells it, nobody hears it.
func TestServerThatSaysItsCredentialBack(t *testing.T) {
	var every []string
	for _, spell := range spellings {
		every = append(every, spell(awkward))
	}
	for place, put := range surfaces {
		for _, what := range []string{awkward, strings.Join(every, " ; ")} {
			t.Run(place, func(t *testing.T) {
				src, change := legacy(t, true)
				src.secret = func(string) string { return awkward }
				w := newWorld(t, change, policy(t, wide), timeout(3*time.Second)) // for whom a client does not answer
				w.up.onEvents("")                                                 // a stream that says nothing, and ends
				w.up.onEvents("subscriptions/listen", event("", `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{}}}`))
				put(w.up, what)
				if how := leaks(w.chat(), awkward); how != "" {
					t.Errorf("the secret is there, %s", how)
				}
				src.settled()
			})
		}
	}
}
