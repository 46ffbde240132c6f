package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/policies"
)

// asks has policy ask that of the calls which it allows.
func asks(terms ...policies.Terms) func(*gateway.Config) {
	return answers(func(_ policies.Request, d policies.Decision) policies.Decision {
		d.Terms = terms
		return d
	})
}

// only is a filter of /records by owner.
func only(values ...string) policies.Filter {
	f := policies.Filter{At: "/records", Field: "owner"}
	for _, v := range values {
		f.In = append(f.In, jsontext.Value(v))
	}
	return f
}

func filters(f ...policies.Filter) policies.Terms { return policies.Terms{Filters: f} }

const (
	ann    = `{"owner":"ann","n":1}`
	bob    = `{"owner":"bob","n":2}`
	theirs = `SECRET-OF-BOB`
)

// records is the structured form with those records; b64 of it is in no answer.
func records(r ...string) string { return `{"records":[` + strings.Join(r, ",") + `],"total":9}` }

// asText is the JSON as a string of JSON.
func asText(s string) string { return string(must(jsontext.AppendQuote(nil, s))(&testing.T{})) }

func TestRecordsOfOthersAreDropped(t *testing.T) {
	structured := records(ann, bob)
	block := func(s string) string { return `{"type":"text","text":` + asText(s) + `}` }
	tests := []struct {
		name    string
		terms   []policies.Terms
		result  string
		want    string // result
		dropped int
	}{
		{"a structured result", []policies.Terms{filters(only(`"ann"`))}, `{"content":[` + block(theirs) + `],"structuredContent":` + structured + `,"_meta":{"x":"` + theirs + `"}}`,
			`{"content":[` + block(records(ann)) + `],"structuredContent":` + records(ann) + `}`, 1},
		{"text that is JSON", []policies.Terms{filters(only(`"ann"`))}, `{"content":[` + block(structured) + `,` + block(records(bob)) + `]}`,
			`{"content":[` + block(records(ann)) + `,` + block(records()) + `]}`, 2},
		{"what shows more than text", []policies.Terms{filters(only(`"ann"`))},
			`{"content":[{"type":"image","data":"` + theirs + `","mimeType":"image/png"},{"type":"resource_link","uri":"x:` + theirs + `","name":"x"},{"type":"resource","resource":{"uri":"x:y","text":"` + theirs + `"}},` + block(structured) + `]}`,
			`{"content":[` + block(records(ann)) + `]}`, 1},
		{"two rules", []policies.Terms{filters(only(`"ann"`)), filters(only(`"bob"`))}, `{"content":[],"structuredContent":` + records(ann, bob, `{"owner":"cat"}`) + `}`,
			`{"content":[` + block(records(ann, bob)) + `],"structuredContent":` + records(ann, bob) + `}`, 1},
		{"two filters of one rule", []policies.Terms{filters(only(`"ann"`), policies.Filter{At: "/records", Field: "n", In: []jsontext.Value{jsontext.Value("1")}})},
			`{"content":[],"structuredContent":` + records(ann, `{"owner":"ann","n":2}`, bob) + `}`, `{"content":[` + block(records(ann)) + `],"structuredContent":` + records(ann) + `}`, 2},
		{"a rule without filters beside", []policies.Terms{filters(only(`"ann"`)), {Limits: nil}}, `{"content":[],"structuredContent":` + structured + `}`,
			`{"content":[],"structuredContent":` + structured + `}`, 0},
		{"no value at all", []policies.Terms{filters(only())}, `{"content":[],"structuredContent":` + structured + `}`, `{"content":[` + block(records()) + `],"structuredContent":` + records() + `}`, 2},
		{"an error of the tool", []policies.Terms{filters(only(`"ann"`))}, `{"content":[` + block(theirs) + `],"structuredContent":` + structured + `,"isError":true}`,
			`{"content":[{"type":"text","text":"the tool reported an error, whose text is withheld by policy"}],"isError":true}`, 0},
		{"a list in a list", []policies.Terms{filters(policies.Filter{At: "/rows/1/cells", Field: "owner", In: only(`"ann"`).In}, policies.Filter{At: "/rows", Field: "ok", In: []jsontext.Value{jsontext.Value("true")}})},
			`{"content":[],"structuredContent":{"rows":[{"ok":false},{"ok":true,"cells":[` + ann + `,` + bob + `]}]}}`,
			`{"content":[` + block(`{"rows":[{"ok":true,"cells":[`+ann+`]}]}`) + `],"structuredContent":{"rows":[{"ok":true,"cells":[` + ann + `]}]}}`, 2},
		{"a pointer with escapes", []policies.Terms{filters(policies.Filter{At: "/a~1b~0c/ ", Field: "owner", In: only(`"ann"`).In})}, `{"content":[],"structuredContent":{"a/b~c":{" ":[` + ann + `,` + bob + `]}}}`,
			`{"content":[` + block(`{"a/b~c":{" ":[`+ann+`]}}`) + `],"structuredContent":{"a/b~c":{" ":[` + ann + `]}}}`, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, asks(tt.terms...))
			w.up.onResult("tools/call", tt.result)
			for era, r := range w.bothEras("alice", tokenSpec{}) {
				want := tt.want
				if era == "stateless" {
					want = strings.TrimSuffix(want, "}") + `,"resultType":"complete"}`
				}
				if r.body != `{"jsonrpc":"2.0","id":7,"result":`+want+`}` {
					t.Errorf("%s: got  %s\nwant %s", era, r.body, want)
				}
				if e := w.last(); e.Kind != audit.Outcome || e.Dropped != tt.dropped {
					t.Errorf("%s: audit %+v", era, e)
				}
			}
		})
	}
}

// TestRecordThatIsMadeToPass: one whose field is not there, not of the type, or there in two
// spellings, is dropped.
func TestRecordThatIsMadeToPass(t *testing.T) {
	in := []string{`"ann"`, `1`, `true`, `1e400`}
	for record, want := range map[string]bool{
		`{"owner":"ann"}`: true, `{"owner":"\u0061nn"}`: true, `{"owner":1}`: true, `{"owner":1.0}`: true, `{"owner":10e-1}`: true, `{"owner":true}`: true, `{"owner":1E+400}`: true,
		`{"owner":"Ann"}`: false, `{"owner":"ann "}`: false, `{"owner":"1"}`: false, `{"owner":"true"}`: false, `{"owner":1.0000000000000000001}`: false, `{"owner":-1}`: false, `{"owner":10}`: false,
		`{"owner":["ann"]}`: false, `{"owner":{"ann":"ann"}}`: false, `{"owner":null}`: false, `{"owner":false}`: false, `{"owner":2e400}`: false, `{"owner":1e999999999999}`: false,
		`{"OWNER":"ann"}`: false, `{"owner":"ann","OWNER":"bob"}`: false, `{"owner":"ann","Owner":"ann"}`: false, `{"x":{"owner":"ann"}}`: false, `{}`: false,
		`"ann"`: false, `["ann"]`: false, `null`: false, `1`: false, `[{"owner":"ann"}]`: false,
	} {
		w := newWorld(t, asks(filters(only(in...))))
		w.up.onResult("tools/call", `{"content":[],"structuredContent":`+records(record)+`}`)
		s := w.session(tokenSpec{subject: "alice"})
		r := s.call(listMessages)
		shown := strings.Contains(r.body, `"structuredContent":`+records(record))
		if shown != want || !shown && !strings.Contains(r.body, `"structuredContent":`+records()) {
			t.Errorf("%s: %s", record, r)
		}
	}
}

// TestAnswerThatCannotBeFilteredIsWithheld: nothing of it passes.
func TestAnswerThatCannotBeFilteredIsWithheld(t *testing.T) {
	deep := strings.Repeat(`{"x":`, 70) + `"` + theirs + `"` + strings.Repeat("}", 70)
	text := func(s string) string { return `"content":[{"type":"text","text":` + asText(s) + `}]` }
	for name, result := range map[string]string{
		"no list":                                  `"structuredContent":{"rows":["` + theirs + `"]}`,
		"another spelling of the list":             `"structuredContent":{"records":[],"Records":["` + theirs + `"]}`,
		"another spelling alone":                   `"structuredContent":{"RECORDS":["` + theirs + `"]}`,
		"a list that is none":                      `"structuredContent":{"records":{"0":"` + theirs + `"}}`,
		"null for a list":                          `"structuredContent":{"records":null,"x":"` + theirs + `"}`,
		"a string for a list":                      `"structuredContent":{"records":"` + theirs + `"}`,
		"a structure that is a list":               `"structuredContent":["` + theirs + `"]`,
		"null for the structure":                   `"structuredContent":null,` + text(theirs),
		"text for people":                          text("Bob has " + theirs),
		"text for people beside JSON":              `"content":[{"type":"text","text":"{\"records\":[]}"},{"type":"text","text":"` + theirs + `"}]`,
		"a member that is there twice":             text(`{"records":[],"records":["` + theirs + `"]}`),
		"a member of a record that is there twice": text(`{"records":[{"owner":"ann","owner":"` + theirs + `"}]}`),
		"two values":                               text(`{"records":[]} {"records":["` + theirs + `"]}`),
		"text that is nested too deep":             text(`{"records":[` + deep + `]}`),
		"text that is no string":                   `"content":[{"type":"text","text":{"records":[]}}]`,
		"no content":                               `"content":[]`,
		"nothing":                                  `"x":1`,
		"an image alone":                           `"content":[{"type":"image","data":"` + theirs + `"}]`,
		"a block that is no object":                `"content":["` + theirs + `"]`,
		"content that is no list":                  `"content":"` + theirs + `"`,
		"an error that is not quite one":           `"isError":"true",` + text(theirs),
		"a question":                               `"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"` + theirs + `"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, asks(filters(only(`"ann"`))))
			w.up.onResult("tools/call", `{`+result+`}`)
			for era, r := range w.bothEras("alice", tokenSpec{}) {
				if strings.Contains(r.body, theirs) || !strings.Contains(r.body, `"error":{"code":403,"message":"the answer is not of a form that policy can filter, and is withheld"}`) {
					t.Errorf("%s: %s", era, r)
				}
				if e := w.last(); e.Kind != audit.Outcome || e.Reason != "filter_impossible" {
					t.Errorf("%s: audit %+v", era, e)
				}
			}
		})
	}
}

// TestListAfterAList: text that is a list of records is that, and nothing after it.
func TestListAfterAList(t *testing.T) {
	w := newWorld(t, asks(filters(policies.Filter{Field: "owner", In: only(`"ann"`).In})))
	s := w.session(tokenSpec{subject: "alice"})
	for text, want := range map[string]string{
		`[` + ann + `,` + bob + `]`:       asText(`[` + ann + `]`),
		`[] ["` + theirs + `"]`:           "withheld",
		`[]` + theirs:                     "withheld",
		`{"owner":"ann"}`:                 "withheld",
		` [ ` + ann + "\n, " + bob + `] `: asText(`[` + ann + `]`),
	} {
		w.up.onResult("tools/call", `{"content":[{"type":"text","text":`+asText(text)+`}]}`)
		if r := s.call(listMessages); !strings.Contains(r.body, want) || strings.Contains(r.body, theirs) || showsBob(r.body) {
			t.Errorf("%s: %s", text, r)
		}
	}
}

// TestFilterComesAfterTheOutputSchema: what is not what the definition says is not passed on,
// whatever a filter would leave of it.
func TestFilterComesAfterTheOutputSchema(t *testing.T) {
	w := newWorld(t, asks(filters(only(`"ann"`))))
	w.up.onResult("tools/call", `{"content":[],"structuredContent":`+records(bob)+`}`)
	if r := w.session(tokenSpec{subject: "alice"}).call(`{"name":"read_message","arguments":{"id":"m1"}}`); !strings.Contains(r.body, "upstream_output_schema") {
		t.Errorf("%s", r)
	}
}

// TestServerTellsOfRecordsBeforeItAnswers: neither by what it says, nor by what it asks.
func TestServerTellsOfRecordsBeforeItAnswers(t *testing.T) {
	told := []string{
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"` + theirs + `"}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":1,"total":2,"message":"` + theirs + `","_meta":{"x":"` + theirs + `"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"` + theirs + `","progress":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":"` + theirs + `"}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"` + theirs + `"}}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:` + theirs + `"}}`,
		`{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"` + theirs + `","requestedSchema":{"type":"object","properties":{}}}}`,
		`{"jsonrpc":"2.0","id":"q2","method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"` + theirs + `"}}],"maxTokens":9}}`,
		`{"jsonrpc":"2.0","id":"q3","method":"roots/list","params":{"_meta":{"x":"` + theirs + `"}}}`,
	}
	for _, end := range []string{`"result":{"content":[],"structuredContent":` + records(ann, bob) + `}`, `"error":{"code":-32000,"message":"` + theirs + `","data":{"` + theirs + `":1}}`} {
		w := newWorld(t, asks(filters(only(`"ann"`))))
		w.up.sessionsOnly()
		w.up.on("", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusAccepted) })
		w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
			id, say := idOf(r), events(rw)
			for _, m := range told {
				say(event("", m))
			}
			say(event("", `{"jsonrpc":"2.0","id":`+id+`,`+end+`}`))
		})
		s := w.session(tokenSpec{subject: "alice"})
		r := s.call(`{"name":"list_messages","_meta":{"progressToken":"mine"}}`)
		if strings.Contains(r.body, theirs) || strings.Contains(r.body, `"bob"`) || !strings.Contains(r.body, `"params":{"progressToken":"mine","progress":1,"total":2}}`) || strings.Contains(r.body, "create") {
			t.Errorf("session: %s", r)
		}
		stateless := w.ask(request{bearer: s.bearer, method: "tools/call", params: `"name":"list_messages",`, capabilities: elicits, meta: `"progressToken":"mine",`})
		if strings.Contains(stateless.body, theirs) || strings.Contains(stateless.body, `"bob"`) || strings.Contains(stateless.body, "input_required") {
			t.Errorf("stateless: %s", stateless)
		}
		for _, r := range []reply{r, stateless} {
			if strings.Contains(end, "error") && !strings.Contains(r.body, `"error":{"code":-32000,"message":"the server reported an error, whose text is withheld by policy"}`) {
				t.Errorf("an error: %s", r)
			}
		}
		answered := 0
		for _, got := range w.up.calls("") {
			if strings.Contains(got.body, "the client cannot be asked this") {
				answered++
			}
		}
		if answered != 6 { // three questions, in each era
			t.Errorf("the server was told %d times that nobody can be asked", answered)
		}
	}
}

// showsBob reports whether a record of bob's is in it: an event id may have the letters.
func showsBob(body string) bool {
	return strings.Contains(body, `bob"`) || strings.Contains(body, `bob\"`)
}

// TestBrokenStreamShowsNoRecordsWhenItIsResumed: the answer that comes late passes the same
// filter, and so does what is said before it.
func TestBrokenStreamShowsNoRecordsWhenItIsResumed(t *testing.T) {
	w := newWorld(t, answers(func(q policies.Request, d policies.Decision) policies.Decision {
		if strings.Contains(string(q.Arguments), "5") { // only with these arguments
			d.Terms = []policies.Terms{filters(only(`"ann"`))}
		}
		return d
	}))
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	last := s.broken("tools/call", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_messages","arguments":{"limit":5}}}`)
	w.up.on("", func(rw http.ResponseWriter, _ *http.Request) {
		say := events(rw)
		say(event("theirs-6", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"`+theirs+`"}}`))
		say(event("theirs-7", `{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":`+records(ann, bob)+`}}`))
	})
	r := read(t, s.resume(t.Context(), last))
	if strings.Contains(r.body, theirs) || showsBob(r.body) || !strings.Contains(r.body, `"structuredContent":`+records(ann)) {
		t.Errorf("%s", r)
	}
	again := lastID(t, r) // of the answer, which the server may replay
	if r := read(t, s.resume(t.Context(), again)); showsBob(r.body) || strings.Contains(r.body, theirs) {
		t.Errorf("replayed: %s", r)
	}
}

// TestStreamOfAnOlderPolicyIsNotResumedAroundTheFilter that a newer one has.
func TestStreamOfAnOlderPolicyIsNotResumedAroundTheFilter(t *testing.T) {
	strict := false
	w := newWorld(t, func(c *gateway.Config) {
		c.PDP = changing{c.PDP, func(q policies.Request, d policies.Decision) policies.Decision {
			if q.Action == policies.ActionCallTool && strict {
				d.PolicyDigest = "another"
				if q.Arguments != nil { // a policy asks for nothing of who only wants to see the tool
					d.Terms = []policies.Terms{filters(only(`"ann"`))}
				}
			}
			return d
		}}
	})
	s := w.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	last := s.broken("tools/call", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_messages"}}`)
	w.up.goesOn(`{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":` + records(bob) + `}}`)
	if r := read(t, s.resume(t.Context(), last)); !showsBob(r.body) {
		t.Errorf("by the same policy: %s", r)
	}
	strict = true
	if r := read(t, s.resume(t.Context(), last)); showsBob(r.body) || w.last().Reason != "filter_impossible" {
		t.Errorf("by another: %s, %+v", r, w.last())
	}
}

// TestParkedCallComesBackFiltered: policy that changed while its client was asked counts.
func TestParkedCallComesBackFiltered(t *testing.T) {
	strict := false
	w := newWorld(t, answers(func(_ policies.Request, d policies.Decision) policies.Decision {
		if strict {
			d.Terms = []policies.Terms{filters(only(`"ann"`))}
		}
		return d
	}))
	w.up.asksMidway(t)
	bearer := w.token(tokenSpec{subject: "alice"})
	state := stateOf(t, w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",`, capabilities: elicits}))
	strict = true
	r := w.ask(request{bearer: bearer, method: "tools/call", params: `"name":"list_messages",` + accept + state + `,`, capabilities: elicits})
	if strings.Contains(r.body, "heard") || w.last().Reason != "filter_impossible" {
		t.Errorf("%s", r)
	}
}

// TestFilterOfWhatHasNoRecordsShowsNothing: a policy that filters a prompt or a resource is
// not one that this gateway can keep to.
func TestFilterOfWhatHasNoRecordsShowsNothing(t *testing.T) {
	w := newWorld(t, policy(t, wide), func(c *gateway.Config) {
		c.PDP = changing{c.PDP, func(_ policies.Request, d policies.Decision) policies.Decision {
			d.Terms = []policies.Terms{filters(only(`"ann"`))}
			return d
		}}
	})
	w.up.onResult("prompts/get", `{"messages":[]}`)
	w.up.onResult("resources/read", `{"contents":[]}`)
	for method, params := range map[string]string{"prompts/get": `"name":"summarize",`, "resources/read": `"uri":"mail://inbox/1",`} {
		r := w.ask(request{bearer: w.token(tokenSpec{subject: "alice", scope: allScopes}), method: method, params: params})
		if !strings.Contains(r.body, "withheld") || len(w.up.calls(method)) > 0 {
			t.Errorf("%s: %s", method, r)
		}
	}
}

// What several rules redact is redacted; a record as those rules do that show it.
func TestRulesRedact(t *testing.T) {
	const mail, phone = "ada@harbour.example", "+44 20 7946 0958"
	both := mail + " " + phone
	tests := []struct {
		name  string
		terms []policies.Terms
		want  string // of the note of the first record, and of the second; none: dropped
	}{
		{"one rule", []policies.Terms{{Redact: []string{"email"}}}, "[email] " + phone + "|[email] " + phone},
		{"what both do", []policies.Terms{{Redact: []string{"email", "phone"}}, {Redact: []string{"phone"}}}, mail + " [phone]|" + mail + " [phone]"},
		{"what one does not", []policies.Terms{{Redact: []string{"email"}}, {Redact: []string{"phone"}}}, both + "|" + both},
		{"a record as its rule does", []policies.Terms{{Filters: []policies.Filter{only(`"ann"`)}, Redact: []string{"email"}}, filters(only(`"bob"`))}, "[email] " + phone + "|" + both},
		{"a rule that shows all counts for all", []policies.Terms{filters(only(`"ann"`)), {Redact: []string{"email"}}}, "[email] " + phone + "|[email] " + phone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, asks(tt.terms...))
			record := func(owner, note string) string { return `{"owner":"` + owner + `","note":"` + note + `"}` }
			w.up.onResult("tools/call", `{"content":[],"structuredContent":`+records(record("ann", both), record("bob", both))+`}`)
			first, second, _ := strings.Cut(tt.want, "|")
			if r := w.session(tokenSpec{subject: "alice"}).call(listMessages); !strings.Contains(r.body, `"structuredContent":`+records(record("ann", first), record("bob", second))) {
				t.Errorf("%s", r)
			}
		})
	}
}

// TestRuleCannotUndoWhatTheServerRedacts, and one that names no class lets nothing pass.
func TestRuleCannotUndoWhatTheServerRedacts(t *testing.T) {
	r := must(redact.New(redact.Config{Email: redact.Deny}))(t)
	w := newWorld(t, asks(policies.Terms{Redact: []string{"email", "phone"}}), func(c *gateway.Config) { c.Upstreams[0].Redactor = r })
	w.up.onResult("tools/call", `{"content":[{"type":"text","text":"ada@harbour.example"}]}`)
	if r := w.session(tokenSpec{subject: "alice"}).call(listMessages); w.last().Reason != "redaction_denied" {
		t.Errorf("%s", r)
	}
	unknown := newWorld(t, asks(policies.Terms{Redact: []string{"shoe_size"}}))
	if r := unknown.session(tokenSpec{subject: "alice"}).call(listMessages); !strings.Contains(r.body, "redaction_failed") || len(unknown.up.calls("tools/call")) > 0 {
		t.Errorf("%s", r)
	}
}

// TestHugeResultIsFilteredInLinearTime: so many records and so deep a pointer cost what they
// are long.
func TestHugeResultIsFilteredInLinearTime(t *testing.T) {
	w := newWorld(t, asks(filters(only(`"ann"`))))
	many := make([]string, 50_000)
	for i := range many {
		many[i] = fmt.Sprintf(`{"owner":%q,"n":%d}`, []string{"ann", "bob"}[i%2], i)
	}
	w.up.onResult("tools/call", `{"content":[],"structuredContent":`+records(many...)+`}`)
	r := w.session(tokenSpec{subject: "alice"}).call(listMessages)
	if showsBob(r.body) || strings.Count(r.body, `"owner":"ann"`) != 25_000 || w.last().Dropped != 25_000 {
		t.Errorf("%d bytes, dropped %d", len(r.body), w.last().Dropped)
	}
}
