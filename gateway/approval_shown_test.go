package gateway_test

import (
	"strings"
	"testing"
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
