package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// changing is a real PDP whose answers to some questions a test changes.
type changing struct {
	gateway.PDP
	change func(policies.Request, policies.Decision) policies.Decision
}

func (a changing) Decide(ctx context.Context, q policies.Request) policies.Decision {
	return a.change(q, a.PDP.Decide(ctx, q))
}

// answers has the PDP change the decisions about calls, with their arguments, of tools.
func answers(change func(policies.Request, policies.Decision) policies.Decision) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.PDP = changing{c.PDP, func(q policies.Request, d policies.Decision) policies.Decision {
			if q.Action == policies.ActionCallTool && q.Arguments != nil && d.Allowed() {
				return change(q, d)
			}
			return d
		}}
	}
}

// denies has it deny such calls, where they are allowed.
func denies(with policies.Decision) func(*gateway.Config) {
	return answers(func(_ policies.Request, d policies.Decision) policies.Decision {
		with.PolicyDigest = d.PolicyDigest
		return with
	})
}

// bothEras has the call made in both.
func (w *world) bothEras(subject string, client tokenSpec) map[string]reply {
	w.t.Helper()
	client.subject = subject
	s := w.session(client)
	return map[string]reply{"session": s.call(listMessages), "stateless": w.ask(request{bearer: s.bearer, method: "tools/call", params: `"name":"list_messages","arguments":{},`})}
}

func TestDenialSaysWhatWouldMakeItAllowedAndNotByWhichRule(t *testing.T) {
	w := newWorld(t, denies(policies.Decision{Reason: policies.ReasonArgument, Rule: "access.yaml:7: roles.reader.servers.mail", Detail: "argument limit must be at most 100"}))
	for era, r := range w.bothEras("alice", tokenSpec{}) {
		if !strings.Contains(r.body, `"error":{"code":403,"message":"access denied by policy: argument limit must be at most 100"}`) || strings.Contains(r.body, "roles") {
			t.Errorf("%s: %s", era, r)
		}
		if e := w.last(); e.Kind != audit.Denial || e.Reason != "argument" {
			t.Errorf("%s: audit %+v", era, e)
		}
	}
	hidden := newWorld(t, func(c *gateway.Config) {
		c.PDP = changing{c.PDP, func(_ policies.Request, d policies.Decision) policies.Decision {
			if !d.Allowed() {
				d.Detail = "the tool is for operators"
			}
			return d
		}}
	})
	if r := hidden.session(tokenSpec{subject: "alice"}).call(`{"name":"send_message","arguments":{}}`); !strings.Contains(r.body, `"message":"Unknown tool"`) || strings.Contains(r.body, "operators") {
		t.Errorf("a hidden tool: %s", r)
	}
}

func TestCallThatNeedsABoundTokenSaysWhatToDo(t *testing.T) {
	bound := answers(func(q policies.Request, d policies.Decision) policies.Decision {
		if q.Bound {
			return d
		}
		return policies.Decision{Reason: policies.ReasonSenderConstraint}
	})
	w := newWorld(t, bound)
	for era, r := range w.bothEras("alice", tokenSpec{}) {
		if r.status != 200 || !strings.Contains(r.body, `"code":403`) || !strings.Contains(r.body, "DPoP proof") {
			t.Errorf("%s: %s", era, r)
		}
		if e := w.last(); e.Reason != "sender_constraint_required" {
			t.Errorf("%s: audit %+v", era, e)
		}
	}
}

// TestTokenIsBoundOnlyByAKeyThatWasProved: what the PDP is told is never the token's word
// alone.
func TestTokenIsBoundOnlyByAKeyThatWasProved(t *testing.T) {
	var asked []bool
	w := newWorld(t, func(c *gateway.Config) {
		c.PDP = changing{c.PDP, func(q policies.Request, d policies.Decision) policies.Decision {
			asked = append(asked, q.Bound)
			return d
		}}
	})
	h := w.keyHolder().ready()
	if r := h.send(h.bearer, h.proof()); r.status != 200 || len(asked) == 0 || !asked[len(asked)-1] {
		t.Errorf("with a proof: %s, %v", r, asked)
	}
	asked = nil
	if r := w.do("POST", w.url, h.bearer, initialize); r.status != http.StatusUnauthorized || len(asked) > 0 {
		t.Errorf("without: %s, %v", r, asked)
	}
	if r := w.do("POST", w.url, w.token(tokenSpec{subject: "alice"}), initialize); r.status != 200 || asked[len(asked)-1] {
		t.Errorf("bound to nothing: %s, %v", r, asked)
	}
	asked = nil
	stolen := w.token(tokenSpec{subject: "alice", bound: token.Confirmation{X5T: b64(make([]byte, 32))}})
	if r := w.do("POST", w.url, stolen, initialize); r.status != http.StatusUnauthorized || len(asked) > 0 {
		t.Errorf("bound to a certificate that did not come: %s, %v", r, asked)
	}
}

// RFC 9470 §3, in both eras.
func TestCallThatNeedsAnotherLoginIsChallenged(t *testing.T) {
	needs := policies.Needs{ACR: []string{"urn:example:mfa", `evil"`, `evil\`, "evil,realm=x y", "phr"}, MaxAge: 15 * time.Minute}
	w := newWorld(t, denies(policies.Decision{Reason: policies.ReasonStepUp, Needs: needs, Detail: "it needs a second factor"}))
	for era, r := range w.bothEras("alice", tokenSpec{}) {
		wantChallenge(t, r, "Bearer", "insufficient_user_authentication")
		c := r.header.Values("WWW-Authenticate")[0]
		for _, want := range []string{`acr_values="urn:example:mfa phr"`, `max_age="900"`, `scope="mcp:tools"`, `resource_metadata="https://as.test/.well-known/oauth-protected-resource/mcp/mail"`} {
			if !strings.Contains(c, want) {
				t.Errorf("%s: %s lacks %s", era, c, want)
			}
		}
		if e := w.last(); e.Kind != audit.Denial || e.Reason != "step_up_required" {
			t.Errorf("%s: audit %+v", era, e)
		}
	}
	for era, r := range w.bothEras("robot", tokenSpec{client: identityOf("robot")}) { // who cannot log in is not sent to do so
		if r.status != 200 || !strings.Contains(r.body, "it needs a second factor") || r.header.Get("WWW-Authenticate") != "" {
			t.Errorf("a workload, %s: %s", era, r)
		}
	}
}

// TestHiddenToolAsksForNoLogin: a challenge would tell that it exists.
func TestHiddenToolAsksForNoLogin(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) {
		c.PDP = changing{c.PDP, func(q policies.Request, d policies.Decision) policies.Decision {
			if q.Tool == "send_message" {
				return policies.Decision{Reason: policies.ReasonStepUp, Needs: policies.Needs{ACR: []string{"mfa"}}}
			}
			return d
		}}
	})
	s := w.session(tokenSpec{subject: "alice"})
	if r := s.call(`{"name":"send_message","arguments":{}}`); r.status != 200 || !strings.Contains(r.body, "Unknown tool") {
		t.Errorf("%s", r)
	}
}

func TestObservedCallIsMadeAndRecordedAsOne(t *testing.T) {
	var told []gateway.Called
	w := newWorld(t, func(c *gateway.Config) {
		c.Observe = func(called gateway.Called) { told = append(told, called) }
		c.PDP = changing{c.PDP, func(q policies.Request, d policies.Decision) policies.Decision {
			if q.Action == policies.ActionCallTool && d.Allowed() {
				d.Observed, d.Rule = policies.ReasonArgument, "access.yaml:9: would deny"
			}
			return d
		}}
	})
	s := w.session(tokenSpec{subject: "alice"})
	if r := s.call(listMessages); !strings.Contains(r.body, `"result"`) {
		t.Fatal(r)
	}
	lines := w.lines()
	intent, outcome := lines[len(lines)-2], lines[len(lines)-1]
	if intent.Decision != audit.Allow || intent.Observed != "argument" || intent.Rule != "access.yaml:9: would deny" || outcome.Observed != "" {
		t.Errorf("audit %+v, %+v", intent, outcome)
	}
	if c := told[len(told)-1]; c.Observed != "argument" || c.Reason != "ok" {
		t.Errorf("metrics were told %+v", c)
	}
	s.post(`{"jsonrpc":"2.0","id":8,"method":"tools/list"}`)
	if c := told[len(told)-1]; c.Observed != "" {
		t.Errorf("a list counts as %+v", c)
	}
}

// Facts are on intents and denials, with arguments as the server's Redactor keeps them.
func TestFactsAreRecorded(t *testing.T) {
	facts := jsontext.Value(`{"groups":["staff"],"claims":{"email":"ada@harbour.example"},"arguments":{"to":"ada@harbour.example","limit":100}}`)
	want := `{"groups":["staff"],"claims":{"email":"ada@harbour.example"},"arguments":{"to":"[email]","limit":100}}`
	for _, allow := range []bool{true, false} {
		w := newWorld(t, func(c *gateway.Config) {
			c.Upstreams[0].Redactor = must(redact.New(redact.Config{Email: redact.Mask}))(t)
		},
			answers(func(_ policies.Request, d policies.Decision) policies.Decision {
				if !allow {
					d = policies.Decision{Reason: policies.ReasonHours, PolicyDigest: "of the decision"}
				}
				d.Facts, d.PolicyDigest = facts, "of the decision"
				return d
			}))
		s := w.session(tokenSpec{subject: "alice"})
		s.call(listMessages)
		lines := w.lines()
		e := lines[len(lines)-1]
		if allow {
			e = lines[len(lines)-2]
		}
		if string(e.Facts) != want || e.PolicyDigest != "of the decision" || e.Kind != map[bool]audit.Kind{true: audit.Intent, false: audit.Denial}[allow] {
			t.Errorf("allowed %t: %+v", allow, e)
		}
		if calls := w.up.calls("tools/call"); allow {
			v := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: w.ring, Now: w.now.Now})
			if call := must(v.ParseCall(t.Context(), calls[0].bearer(), w.up.URL))(t); call.Details().PolicyDigest != "of the decision" {
				t.Errorf("the call token has %+v", call.Details())
			}
		}
	}
}

// TestFactsThatAreTooLargeRefuseNoCall: nor do those that are no JSON.
func TestFactsThatAreTooLargeRefuseNoCall(t *testing.T) {
	for _, facts := range []string{`{"arguments":{"a":"` + strings.Repeat("x", 20<<10) + `"},"acr":"mfa"}`, `{"claims":{"a":"` + strings.Repeat("x", 20<<10) + `"}}`, `{"a":`} {
		w := newWorld(t, answers(func(_ policies.Request, d policies.Decision) policies.Decision {
			d.Facts = jsontext.Value(facts)
			return d
		}))
		if r := w.session(tokenSpec{subject: "alice"}).call(listMessages); !strings.Contains(r.body, `"result"`) {
			t.Errorf("%.20s: %s", facts, r)
		}
	}
}
