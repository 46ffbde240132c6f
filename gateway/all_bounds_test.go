package gateway_test

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
)

// A server whose list never ends is left out, rather than kept in memory.
func TestEveryServerButTheOneWhoseListNeverEnds(t *testing.T) {
	w := newWorld(t, policy(t, wide), func(c *gateway.Config) { c.All = allOf(t) })
	w.up.onResult("resources/list", `{"resources":[{"uri":"mail://inbox/1","name":"`+strings.Repeat("a", 1<<20)+`"}],"nextCursor":"more"}`)
	r := w.everywhere().ask(request{bearer: w.token(tokenSpec{subject: "alice", scope: allScopes, audience: issuer + "/mcp"}), method: "resources/list"})
	if n := len(w.up.calls("resources/list")); n > 5 || !strings.Contains(r.body, `"resources":[]`) || !strings.Contains(r.body, `"com.github.wicketgate/unavailable":{"mail":"unavailable"}`) {
		t.Errorf("%d pages: %.300s", n, r)
	}
}
