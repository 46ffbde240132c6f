package gateway_test

import (
	"net/http"
	"sync/atomic"
	"testing"
)

const statelessCall = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_messages","arguments":{"limit":2},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`

// statelessHeaders are those of statelessCall.
var statelessHeaders = []string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "list_messages"}

// TestCallThatIsSentAgainHasATokenOfItsOwn: an upstream that counts each call token once
// has counted the one of the message that it answered with 404.
func TestCallThatIsSentAgainHasATokenOfItsOwn(t *testing.T) {
	w := newWorld(t)
	var gone atomic.Bool
	w.up.on("tools/call", func(rw http.ResponseWriter, r *http.Request) {
		if gone.CompareAndSwap(false, true) {
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		w.up.json(rw, `{"jsonrpc":"2.0","id":"wg-1","result":{"content":[]}}`)
	})
	w.up.onJSON("server/discover", `{"jsonrpc":"2.0","id":"wicketgate-discover","error":{"code":-32601,"message":"Method not found"}}`)
	if r := w.do("POST", w.url, w.token(tokenSpec{subject: "alice"}), statelessCall, statelessHeaders...); r.status != 200 {
		t.Fatal(r)
	}
	calls := w.up.calls("tools/call")
	if len(calls) != 2 || calls[0].bearer() == calls[1].bearer() {
		t.Errorf("%d calls, want two with different tokens", len(calls))
	}
}
