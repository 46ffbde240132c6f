package policies_test

import (
	"maps"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/policies"
)

// Few URIs, so that grants and questions meet.
var (
	someGrants    = []string{"*", "file:///a/*", "file:///a/b/*", "file:///*", "file:///a/b", "mem:x/*", "mem:x", "https://h/a/*"}
	someTemplates = []string{"file:///a/{x}", "file:///{x}", "file:///a/b/{+x}", "{+x}", "mem:x/{x}", "mem:{x}", "https://h{/x}", "file:///a/../{x}"}
)

// resolutions are what a server may make of a URI, however careless it is.
func resolutions(uri string) []string {
	out := []string{uri}
	for i := 0; i < len(out) && i < 200; i++ {
		for _, next := range []string{
			decoded(out[i]), strings.ReplaceAll(out[i], `\`, "/"), withoutParameters(out[i]), cleaned(out[i]), strings.ReplaceAll(out[i], "\uff0e", "."),
		} {
			if !slices.Contains(out, next) {
				out = append(out, next)
			}
		}
	}
	return out
}

func decoded(s string) string {
	if d, err := url.PathUnescape(s); err == nil {
		return d
	}
	return s
}

// withoutParameters is what is left of each segment before a semicolon.
func withoutParameters(s string) string {
	segments := strings.Split(s, "/")
	for i := range segments {
		segments[i], _, _ = strings.Cut(segments[i], ";")
	}
	return strings.Join(segments, "/")
}

// cleaned resolves dot segments in all after the scheme, the query too.
func cleaned(s string) string {
	scheme, rest, _ := strings.Cut(s, ":")
	slashes := rest[:len(rest)-len(strings.TrimLeft(rest, "/"))]
	if slashes == "" {
		return scheme + ":" + strings.TrimPrefix(path.Clean("/"+rest), "/")
	}
	return scheme + ":" + slashes[1:] + path.Clean(rest[len(slashes)-1:])
}

// below reports whether the URI is in the folder of the prefix, or is that.
func below(uri, prefix string) bool {
	return strings.HasPrefix(uri+"/", prefix) || strings.HasPrefix(uri, prefix)
}

// drawURI draws what climbs, in some spelling, or does not.
func drawURI(t *rapid.T) string {
	if oneOf := rapid.SampledFrom([]bool{false, false, true}).Draw(t, "granted"); oneOf {
		return rapid.SampledFrom([]string{"file:///a/b", "mem:x"}).Draw(t, "uri")
	}
	start := rapid.SampledFrom([]string{"file:///", "file:///a/", "file:///a/b/", "mem:", "mem:x/", "https://h/", "FILE:///a/"}).Draw(t, "start")
	part := rapid.SampledFrom([]string{"a", "b", "x", "/", "/", "..", ".", "%2e", "%2E%2e", "%2f", "%252e", "%252F", `\`, "%5c", ";", ";x=1", "?", "#", "\uff0e", "%20", "%c0%ae", "%", "é", "*"})
	return start + strings.Join(rapid.SliceOfN(part, 0, 7).Draw(t, "parts"), "")
}

func grants(doc accessDoc, subject, server, list string) (out []string) {
	for _, r := range doc.Roles {
		if r.names(subject, "claude", nil) {
			out = append(out, r.Servers[server][list]...)
		}
	}
	return out
}

func drawLibrary(t *rapid.T) accessDoc {
	doc := accessDoc{1, map[string]roleDoc{}}
	for _, name := range []string{"a", "b", "c"} {
		doc.Roles[name] = roleDoc{Who: map[string][]string{"users": subset(t, "users", "alice", "bob"), "groups": {"none"}}, Servers: map[string]map[string][]string{"docs": {
			"tools": subset(t, "tools", "read", "send", "*"), "resources": subset(t, "resources", someGrants...), "prompts": subset(t, "prompts", "read", "send", "*"),
		}}}
	}
	return doc
}

// questions are some of every kind, as subject asks them.
func questions(t *rapid.T, subject string) (out []policies.Request) {
	q := login{}.ask(t, subject, "claude")
	q.Server = "docs"
	for _, name := range []string{"read", "send", "other"} {
		tool, prompt := q, q
		tool.Tool = name
		prompt.Action, prompt.Prompt = policies.ActionGetPrompt, name
		out = append(out, tool, prompt)
	}
	q.Action = policies.ActionReadResource
	for _, q.Resource = range rapid.SliceOfN(rapid.Custom(drawURI), 5, 20).Draw(t, "uris") {
		out = append(out, q)
	}
	q.Resource = ""
	for _, q.Template = range someTemplates {
		out = append(out, q)
	}
	return out
}

// TestNoReadBeyondWhatIsGranted asks random questions of random policies: what is
// allowed is granted by name, and whatever a server makes of a URI that a prefix allows
// is below that prefix; what is plainly below one is allowed.
func TestNoReadBeyondWhatIsGranted(t *testing.T) {
	by := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		doc := drawLibrary(t)
		p := load(t, doc)
		for _, q := range questions(t, "alice") {
			d := p.Decide(t.Context(), q)
			if e, c := p.Evaluate(t.Context(), q), p.Decide(t.Context(), q); !reflect.DeepEqual(e, d) || !reflect.DeepEqual(c, d) {
				t.Fatalf("%+v: %+v, then %+v, then cached %+v", q, d, e, c)
			}
			switch {
			case q.Action == policies.ActionReadResource && q.Template == "":
				by[checkRead(t, grants(doc, "alice", "docs", "resources"), q.Resource, d.Allowed())]++
			case q.Action != policies.ActionReadResource:
				list := grants(doc, "alice", "docs", map[policies.Action]string{policies.ActionCallTool: "tools", policies.ActionGetPrompt: "prompts"}[q.Action])
				if want := slices.Contains(list, "*") || slices.Contains(list, q.Tool+q.Prompt); d.Allowed() != want {
					t.Fatalf("%+v: %+v, want %v of %q", q, d, want, list)
				}
			}
		}
	})
	if t.Logf("by: %v", by); len(by) != 5 {
		t.Error("nothing was allowed by name, by prefix or by all, or nothing denied, or only for its spelling: the test shows nothing")
	}
}

// checkRead returns why the answer is right.
func checkRead(t *rapid.T, granted []string, uri string, allowed bool) string {
	within := func(in func(prefix string) bool) bool {
		return slices.ContainsFunc(granted, func(g string) bool { return strings.HasSuffix(g, "/*") && in(strings.TrimSuffix(g, "*")) })
	}
	spelled := within(func(prefix string) bool { return strings.HasPrefix(uri, prefix) })
	asSuch := slices.Contains(granted, "*") || slices.Contains(granted, uri)
	switch {
	case !allowed && (asSuch || spelled && !strings.ContainsAny(uri, ".%\\\uff0e")):
		t.Fatalf("%q is denied, of %q", uri, granted)
	case !allowed && spelled:
		return "not plain"
	case !allowed:
		return "denied"
	case slices.Contains(granted, "*"):
		return "all"
	case asSuch:
		return "name"
	}
	for _, resolved := range resolutions(uri) {
		if !within(func(prefix string) bool { return below(resolved, prefix) }) {
			t.Fatalf("%q is allowed by %q, and may be read as %q", uri, granted, resolved)
		}
	}
	return "prefix"
}

// TestListAndReadAgree: whoever sees a template may read all that begins like it and is
// plain, and whoever sees a prompt or tool may call it with arguments.
func TestListAndReadAgree(t *testing.T) {
	seen := map[policies.Action]int{}
	rapid.Check(t, func(t *rapid.T) {
		p := load(t, drawLibrary(t))
		for _, q := range questions(t, "alice") {
			visible, used := p.Decide(t.Context(), q), q
			used.Arguments = jsontext.Value(`{"length":"short"}`)
			if q.Template != "" {
				literal, _, _ := strings.Cut(q.Template, "{")
				used.Template, used.Resource = "", literal+rapid.SampledFrom([]string{"", "x", "x/y", "x%20y", "x?y#z"}).Draw(t, "expansion")
				if used.Resource == "" || !visible.Allowed() {
					continue // a template that is hidden hides what may be read
				}
			}
			if d := p.Decide(t.Context(), used); d.Allowed() != visible.Allowed() {
				t.Fatalf("%+v is visible: %+v, and used: %+v", q, visible, d)
			}
			if visible.Allowed() {
				seen[q.Action]++
			}
		}
	})
	if t.Logf("seen: %v", seen); len(seen) != 3 {
		t.Error("of some kind nothing was visible: the test shows nothing")
	}
}

// TestRolesOnlyAdd takes roles and grants away: nobody may do more.
func TestRolesOnlyAdd(t *testing.T) {
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		doc := drawLibrary(t)
		less := accessDoc{1, maps.Clone(doc.Roles)}
		delete(less.Roles, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "role"))
		fewer := less.Roles["c"].Servers["docs"]
		list := rapid.SampledFrom([]string{"tools", "resources", "prompts"}).Draw(t, "list")
		if n := len(fewer[list]); n > 0 {
			i := rapid.IntRange(0, n-1).Draw(t, "grant")
			shorter := maps.Clone(fewer)
			shorter[list] = slices.Delete(slices.Clone(fewer[list]), i, i+1)
			less.Roles["c"] = roleDoc{Who: less.Roles["c"].Who, Servers: map[string]map[string][]string{"docs": shorter}}
		}
		all, some := load(t, doc), load(t, less)
		for _, q := range questions(t, "alice") {
			a, b := all.Decide(t.Context(), q).Allowed(), some.Decide(t.Context(), q).Allowed()
			if b && !a {
				t.Fatalf("%+v is allowed only with less", q)
			}
			if a && !b {
				taken++
			}
		}
	})
	if t.Logf("%d grants taken away", taken); taken == 0 {
		t.Error("no role took anything away: the test shows nothing")
	}
}

func TestOrderOfGrantsMeansNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := drawLibrary(t)
		before := load(t, doc)
		for _, r := range doc.Roles {
			for list, names := range r.Servers["docs"] {
				r.Servers["docs"][list] = rapid.Permutation(names).Draw(t, "order")
			}
		}
		after := load(t, doc)
		if before.Digest() != after.Digest() {
			t.Fatal("another order has another digest")
		}
		for _, q := range questions(t, "alice") {
			if a, b := before.Decide(t.Context(), q), after.Decide(t.Context(), q); a.Allowed() != b.Allowed() || a.Reason != b.Reason {
				t.Fatalf("%+v: %+v, in another order %+v", q, a, b)
			}
		}
	})
}
