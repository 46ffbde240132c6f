package policies_test

import (
	"testing"

	"github.com/wicketgate/wicketgate/policies"
)

// Who may read everything but what is denied may not read that in another spelling: each of
// these is what some server or operating system takes for it.
func TestDeniedResourceInAnotherSpelling(t *testing.T) {
	for denied, spellings := range map[string][]string{
		"https://example.com/*": {
			"https://example.com", "https://example.com:443", "https://example.com:443/x", "https://example.com:0443/x", "https://example.com:/x", "https://EXAMPLE.com:443/x",
			"https://user@example.com/x", "https://user:secret@example.com:443/x", "https://user%40evil.example@example.com/x", "https://a@b@example.com/x", "https://example.com./x", "https://example.com.:443/x",
			"https:/example.com/x", "https:/u@example.com:443/x", "https:example.com/x", "https:////u@example.com/x", "https:///example.com/x", "https://example.com?x", "https://example.com#x", "https://example.com;x",
		},
		"http://example.com/x":            {"http://example.com:80/x", "http://example.com:080/x", "http://u@example.com.:80/x"},
		"https://xn--bcher-kva.example/*": {"https://bücher.example/x", "https://BÜCHER.example.:443/x", "https://b%C3%BCcher.example/x", "https://u@bu\u0308cher.example/x"},
		"file:///docs/secret": {
			"file:///docs/;v=1/secret", "file:///;v/docs/secret",
			"file:/docs/secret", "file://localhost/docs/secret", "file://LOCALHOST/docs/secret", "file://127.0.0.1/docs/secret", "file://host.example/docs/secret", "file://u@localhost:80/docs/secret",
			"file:///docs/secret/", "file:///docs//secret", "file:///Docs/SECRET", "file:///docs/secret.", "file:///docs/secret%20", "file:///docs./secret", "file:///docs%20/secret",
			"file:///docs/secret;v=1", "file:///docs;v=1/secret", "file:///docs/secret?x", "file:///docs/secret#x", "file:///docs/secret::$DATA", "file:///docs/secret:stream",
			"file:///docs/sec\u200bret", "file:///docs/sec%E2%80%8Dret", "file:///docs/\ufeffsecret", "file:///docs/se\u00adcret", "file:///docs/ＳＥＣＲＥＴ", "file:///docs/\u017fecret",
		},
		"file:///docs/*":        {"file:///docs", "file:///docs/", "file://localhost/docs/a", "file:///docs./a", "file:///docs;v/a", "file:///docs%20/a", "file:///DOCS/a"},
		"https://[::1]/*":       {"https://[::1]:443/x", "https://u@[::1]/x"},
		"https://a_b.example/*": {"https://a_b.example.:443/x"},
		"mem://notes/1":         {"mem://notes/1/", "mem://NOTES/1", "mem://notes/1?x"},
	} {
		p := newPDP(t, "version: 1\nroles: {r: {who: {users: [alice]}, servers: {s: {resources: [\"*\"]}}}}\ndeny: {d: {servers: {s: {resources: [\""+denied+"\"]}}}}\n")
		q := call(t, "alice", "editor", "s", "")
		q.Action = policies.ActionReadResource
		for _, q.Resource = range append(spellings, denied) {
			if d := p.Decide(t.Context(), q); d.Reason != policies.ReasonDenied && q.Resource[len(q.Resource)-1] != '*' {
				t.Errorf("%s, denied as %s: %s", q.Resource, denied, d.Reason)
			}
		}
		for _, q.Resource = range []string{"https://example.org/x", "https://example.com.evil.example/x", "https://example.com@evil.example/x", "https://example.com:8443/x", "file:///docs2/secret", "file:///other/secret", "mem://notes/12"} {
			if d := p.Decide(t.Context(), q); !d.Allowed() {
				t.Errorf("%s, which is another than %s: %s", q.Resource, denied, d.Reason)
			}
		}
	}
}

// Nobody can tell what such a URI means, so it may mean what is denied.
func TestDeniedResourceThroughAURIThatIsNotPlain(t *testing.T) {
	p := newPDP(t, "version: 1\nroles: {r: {who: {users: [alice]}, servers: {s: {resources: [\"*\"]}}}}\ndeny: {d: {servers: {s: {resources: [\"file:///docs/secret\"]}}}}\n")
	q := call(t, "alice", "editor", "s", "")
	q.Action = policies.ActionReadResource
	for _, q.Resource = range []string{
		"file:///x/../docs/secret", "file:///docs/./secret", "file:///docs%2fsecret", `file:///docs\secret`, "file:///docs/%2e/secret", "file:///docs/%2573ecret", "file:///docs/secret%00", "file:///docs/secret%ff", "file:///docs/secret%",
	} {
		decides(t, p, q, policies.ReasonDenied)
	}
}
