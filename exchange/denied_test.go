package exchange_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// lacks has policy deny the calls that it allows, for that reason.
func lacks(reason policies.Reason) func(policies.Request, policies.Decision) policies.Decision {
	return func(q policies.Request, d policies.Decision) policies.Decision {
		if q.Arguments != nil && d.Allowed() {
			return policies.Decision{Reason: reason, Detail: "argument id must be one of m2", Rule: "access.yaml:7: roles.reader"}
		}
		return d
	}
}

const constant = `{"error":"invalid_scope","error_description":"this tool cannot be granted with these arguments"}`

func TestToolTokenThatIsDeniedSaysWhatIsMissing(t *testing.T) {
	for reason, want := range map[policies.Reason]string{
		policies.ReasonStepUp:           `{"error":"invalid_request","error_description":"policy asks for a subject_token of another login`,
		policies.ReasonSenderConstraint: `{"error":"invalid_request","error_description":"policy asks for a token that is bound to a key`,
		policies.ReasonApproval:         `{"error":"invalid_scope","error_description":"this call needs an approval`,
		policies.ReasonArgument:         `{"error":"invalid_authorization_details","error_description":"policy grants this tool, and not with these arguments"}`,
		policies.ReasonEvaluationError:  constant,
	} {
		w := newWorld(t)
		w.pdp.change = lacks(reason)
		raw, _ := w.grant(t)
		status, body := w.post(t, request(raw))
		if status != 400 || !strings.HasPrefix(strings.TrimSpace(body), want) || strings.Contains(body, "roles") {
			t.Errorf("%s: %d %s", reason, status, body)
		}
		if len(w.audit.events) > 0 {
			t.Errorf("%s: %+v", reason, w.audit.events)
		}
	}
}

// TestHiddenToolIsDeniedLikeAnUnknownOne, whatever policy says that it lacks.
func TestHiddenToolIsDeniedLikeAnUnknownOne(t *testing.T) {
	w := newWorld(t)
	w.pdp.change = func(q policies.Request, d policies.Decision) policies.Decision {
		if q.Arguments != nil {
			return policies.Decision{Reason: policies.ReasonStepUp}
		}
		return d
	}
	raw, _ := w.grant(t)
	for _, tool := range []string{"delete_message", "nothing", "unapproved", "undigested"} {
		r := request(raw)
		set("scope", "tool:"+tool)(&r)
		set("authorization_details", strings.ReplaceAll(details, "read_message", tool))(&r)
		if _, body := w.post(t, r); strings.TrimSpace(body) != constant {
			t.Errorf("%s: %s", tool, body)
		}
	}
}

// TestBoundIsWhatTheIssuedTokenWillBe: bound by a key that was proved here, or before.
func TestBoundIsWhatTheIssuedTokenWillBe(t *testing.T) {
	jkt := strings.Repeat("A", 43)
	for name, tt := range map[string]struct {
		parent token.Confirmation
		bind   oauth.Proof
		want   bool
	}{
		"neither": {}, "now": {bind: oauth.Proof{JKT: jkt}, want: true}, "before": {parent: token.Confirmation{JKT: jkt}, want: true},
	} {
		w := newWorld(t)
		raw, _ := w.grant(t, func(s *token.AccessSpec) { s.Confirmation = tt.parent })
		r := request(raw)
		r.Bind = tt.bind
		r.Proof = oauth.Proof{JKT: jkt}
		if status, body := w.post(t, r); status != 200 {
			t.Errorf("%s: %s", name, body)
			continue
		}
		if got := w.pdp.requests[len(w.pdp.requests)-1].Bound; got != tt.want {
			t.Errorf("%s: policy was told %t", name, got)
		}
	}
}

// Facts are recorded without the arguments, unless somebody can redact them.
func TestFactsOfAnExchangeAreRecordedRedacted(t *testing.T) {
	for _, redact := range []bool{true, false} {
		w := newWorld(t, func(c *exchange.Config) {
			if redact {
				c.Redact = func(server string, _ jsontext.Value) jsontext.Value {
					return jsontext.Value(`{"id":"[` + server + `]"}`)
				}
			}
		})
		w.pdp.change = func(_ policies.Request, d policies.Decision) policies.Decision {
			d.Facts, d.Observed = jsontext.Value(`{"groups":["staff"],"arguments":{"id":"secret"}}`), policies.ReasonHours
			return d
		}
		raw, _ := w.grant(t)
		if status, body := w.post(t, request(raw)); status != 200 {
			t.Fatal(body)
		}
		want := `{"groups":["staff"]}`
		if redact {
			want = `{"arguments":{"id":"[mail]"},"groups":["staff"]}`
		}
		if e := w.audit.events[0]; string(e.Facts) != want || e.Observed != "hours" {
			t.Errorf("audit %+v", e)
		}
	}
}
