package gateway_test

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/redact"
)

const (
	leaked       = "ada@harbour.example"
	leakedResult = `{"content":[{"type":"text","text":"{\"from\":\"ada\\u0040harbour.example\"}"}],"structuredContent":{"text":"` + leaked + `"}}`
)

func newRedactingWorld(t *testing.T, a redact.Action) (*world, session) {
	r := must(redact.New(redact.Config{Email: a}))(t)
	w := newWorld(t, func(c *gateway.Config) { c.Upstreams[0].Redactor = r })
	return w, w.session(tokenSpec{subject: "alice"})
}

func TestResultIsRedacted(t *testing.T) {
	w, s := newRedactingWorld(t, redact.Mask)
	w.up.onJSON("tools/call", `{"jsonrpc":"2.0","id":7,"result":`+leakedResult+`}`)
	want := `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"{\"from\":\"[email]\"}"}],"structuredContent":{"text":"[email]"}}}`
	if r := s.call(`{"name":"read_message","arguments":{"id":"m1"}}`); r.body != want {
		t.Errorf("got  %s\nwant %s", r.body, want)
	}
	if e := w.last(); e.Kind != audit.Outcome || e.Redactions != 2 {
		t.Errorf("audit: %+v, want 2 redactions", e)
	}
}

// TestErrorOfAnUpstreamIsRedacted, and what it tells before it answers.
func TestErrorOfAnUpstreamIsRedacted(t *testing.T) {
	w, s := newRedactingWorld(t, redact.Mask)
	w.up.onSSE("tools/call", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"asking `+leaked+`"}}`,
		`{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"no mailbox `+leaked+`","data":{"`+leaked+`":1}}}`)
	r := s.call(`{"name":"list_messages"}`)
	if strings.Contains(r.body, leaked) || !strings.Contains(r.body, `"error":{"code":-32000,"message":"no mailbox [email]","data":{"[email]":1}}`) || !strings.Contains(r.body, "asking [email]") {
		t.Errorf("got %s", r)
	}
	if e := w.last(); e.Status != "error_from_upstream" || e.Redactions != 2 {
		t.Errorf("audit: %+v, want 2 redactions", e)
	}
}

func TestDeniedResultDoesNotPass(t *testing.T) {
	for name, answer := range map[string]string{"a result": `"result":` + leakedResult, "an error": `"error":{"code":-32000,"message":"` + leaked + `"}`} {
		w, s := newRedactingWorld(t, redact.Deny)
		w.up.onJSON("tools/call", `{"jsonrpc":"2.0","id":7,`+answer+`}`)
		if r := s.call(`{"name":"read_message","arguments":{"id":"m1"}}`); strings.Contains(r.body, "ada") || !strings.Contains(r.body, `"error"`) || strings.Contains(r.body, `"result"`) {
			t.Errorf("%s: got %s", name, r)
		}
		if e := w.last(); e.Kind != audit.Outcome || e.Status != "error" || e.Reason != "redaction_denied" {
			t.Errorf("%s: audit: %+v", name, e)
		}
	}
}
