package gateway_test

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/revocation"
)

// What the approver was not shown, and what the approval is not bound to, does not reach the
// server with it: or an agent would say there what the call is really about.
func TestApprovedCallSmugglesNothingBesideItsArguments(t *testing.T) {
	const smuggled = `"tenant":"smuggled",`
	for name, send := range map[string]func(*office) reply{
		"session": func(o *office) reply {
			return o.session(tokenSpec{subject: "bob"}).call(`{` + smuggled + sendParams + `"_meta":{` + smuggled + `"io.modelcontextprotocol/tenant":"smuggled","progressToken":"p1"}}`)
		},
		"session to stateless": func(o *office) reply {
			o.up.statelessOnly()
			return o.session(tokenSpec{subject: "bob"}).call(`{` + smuggled + sendParams + `"_meta":{` + smuggled + `"progressToken":"p1"}}`)
		},
		"stateless": func(o *office) reply {
			o.up.statelessOnly()
			return o.ask(request{bearer: o.token(tokenSpec{subject: "bob"}), method: "tools/call", params: smuggled + sendParams + `"inputResponses":{"x":{}},`, meta: smuggled + `"progressToken":"p1",`})
		},
		"stateless to session": func(o *office) reply {
			return o.ask(request{bearer: o.token(tokenSpec{subject: "bob"}), method: "tools/call", params: smuggled + sendParams, meta: smuggled + `"progressToken":"p1",`})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.approve(o.waitsFor(send(o)))
			if r := send(o); !strings.Contains(r.body, `"done"`) || o.sent() != 1 {
				t.Fatalf("once it is approved: %s", r)
			}
			got := o.up.calls("tools/call")[0].body
			if strings.Contains(got, "tenant") || strings.Contains(got, "inputResponses") || !strings.Contains(got, `"to":"eve@example.com"`) || !strings.Contains(got, "progressToken") {
				t.Errorf("the server got %s", got)
			}
		})
	}
}

// What somebody approved counts for nothing once they are revoked: it may have been whoever
// stole their login. It is asked for anew, of others.
func TestApprovalOfARevokedApproverIsNotUsed(t *testing.T) {
	o := newOffice(t)
	bob := o.session(tokenSpec{subject: "bob"})
	id := o.waitsFor(bob.call(sendToEve))
	o.approve(id)
	o.revoke(revocation.New(revocation.Subject, "ann", o.now.Now()))
	if r := bob.call(sendToEve); !strings.Contains(r.body, "was revoked since") || o.sent() != 0 || o.last().Reason != "approval_void" || o.last().Approval != id {
		t.Errorf("%s, audit %+v", r, o.last())
	}
	again := o.waitsFor(bob.call(sendToEve))
	if err := o.decide(again, "lee", true); err != nil {
		t.Fatal(err)
	}
	if r := bob.call(sendToEve); !strings.Contains(r.body, `"done"`) || o.sent() != 1 || o.approvalIn() != again {
		t.Errorf("by somebody else: %s", r)
	}
}
