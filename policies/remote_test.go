package policies_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wicketgate/wicketgate/internal/opaclient"
	"github.com/wicketgate/wicketgate/internal/opatest"
	"github.com/wicketgate/wicketgate/policies"
)

// bundleFolder writes what access.yaml compiles to as wicketgate policy compile does.
func bundleFolder(t *testing.T, access, revision string) string {
	t.Helper()
	m, dir := compiled(t, access), t.TempDir()
	m.modules["data.json"] = string(m.data)
	m.modules[".manifest"] = fmt.Sprintf(`{"revision": %q}`, revision)
	for name, text := range m.modules {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func remotePDP(t *testing.T, access, at string, timeout time.Duration) *policies.PDP {
	t.Helper()
	u, err := opaclient.CheckURL(at)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policies.New(t.Context(), policies.Config{Access: []byte(access), OPA: opaclient.New(opaclient.Config{URL: u}), Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRealOPADecidesAlike: a real OPA with what access.yaml compiles to decides as the
// engine in this process.
func TestRealOPADecidesAlike(t *testing.T) {
	opatest.Program(t)
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range cases {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		access := string(a.Files[0].Data)
		own := newPDP(t, access)
		if own.Digest() == "" {
			continue // there is no policy
		}
		opa := opatest.Start(t, "--bundle", bundleFolder(t, access, own.Digest()))
		p := remotePDP(t, access, opa.URL, time.Minute)
		if err := p.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := 1; i+1 < len(a.Files); i += 2 {
			q := request(t, a.Files[i].Data)
			want, got := own.Decide(t.Context(), q), p.Decide(t.Context(), q)
			if want.Allowed() != got.Allowed() || want.Reason != got.Reason || bareRule(want) != bareRule(got) || got.PolicyDigest == "" {
				t.Errorf("%s: %s\nOPA %+v\nown %+v", f, a.Files[i].Data, got, want)
			}
		}
		if d := p.Digest(); len(d) != len(own.Digest()) {
			t.Errorf("digest of an OPA with a revision: %s", d)
		}
		opa.Kill()
	}
}

// TestRealOPAThatFailsDenies: whatever becomes of it, nothing is allowed, and each way has
// a reason of its own.
func TestRealOPAThatFailsDenies(t *testing.T) {
	opa := opatest.Start(t, "--bundle", bundleFolder(t, example, "1"))
	p := remotePDP(t, example, opa.URL, 20*time.Second)
	impatient := remotePDP(t, example, opa.URL, 50*time.Millisecond)
	q := call(t, "alice", "app", "mail", "read_message")
	if d := p.Decide(t.Context(), q); !d.Allowed() || p.Probe(t.Context()) != nil {
		t.Fatalf("while it works: %+v", d)
	}
	digest := p.Digest()
	opa.Pause(t)
	if d := impatient.Decide(t.Context(), q); d.Allowed() || d.Reason != policies.ReasonTimeout {
		t.Errorf("while it is slow: %+v", d)
	}
	opa.Resume(t)
	if d := p.Decide(t.Context(), q); !d.Allowed() {
		t.Errorf("once it is fast again: %+v", d)
	}
	opa.Kill()
	if d := p.Decide(t.Context(), q); d.Allowed() || d.Reason != policies.ReasonOPAUnreachable || d.Err == nil || d.PolicyDigest != digest {
		t.Errorf("killed: %+v", d)
	}
	if p.Probe(t.Context()) == nil {
		t.Error("a probe of what was killed is good")
	}
}

// TestRealOPAThatAnswersRubbishDenies: by a policy of somebody else, or with a mistake.
func TestRealOPAThatAnswersRubbishDenies(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		rego string
		want policies.Reason
	}{
		"text":               {`decision := "allow"`, policies.ReasonMalformed},
		"true":               {`decision := true`, policies.ReasonMalformed},
		"null":               {`decision := null`, policies.ReasonMalformed},
		"a list":             {`decision := [{"allow": true, "reason": "allowed", "rule": "x"}]`, policies.ReasonMalformed},
		"more":               {`decision := {"allow": true, "reason": "allowed", "rule": "x", "admin": true}`, policies.ReasonMalformed},
		"less":               {`decision := {"allow": true}`, policies.ReasonMalformed},
		"text for a boolean": {`decision := {"allow": "true", "reason": "allowed", "rule": "x"}`, policies.ReasonMalformed},
		"against itself":     {`decision := {"allow": true, "reason": "not_granted", "rule": "x"}`, policies.ReasonMalformed},
		"a foreign reason":   {`decision := {"allow": false, "reason": "because", "rule": "x"}`, policies.ReasonMalformed},
		"nothing":            {`decision := {"allow": true, "reason": "allowed", "rule": "x"} if input.absent`, policies.ReasonUndefined},
		"another package":    {"allow := true", policies.ReasonUndefined},
		"two answers":        {"decision := input.tool\n\ndecision := input.server", policies.ReasonOPAStatus},
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "_")+".rego")
		if err := os.WriteFile(file, []byte("package wicketgate.access\n\n"+tt.rego+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		opa := opatest.Start(t, file)
		p := remotePDP(t, "", opa.URL, time.Minute)
		if d := p.Decide(t.Context(), call(t, "alice", "app", "mail", "read_message")); d.Allowed() || d.Reason != tt.want {
			t.Errorf("%s: %+v, want %s", name, d, tt.want)
		}
		if p.Digest() != policies.DigestUnknown {
			t.Errorf("%s: an OPA without a revision is %s", name, p.Digest())
		}
		opa.Kill()
	}
}

// answering is an OPA of one answer.
type answering string

func (a answering) Ask(context.Context, []byte) ([]byte, error) { return []byte(a), nil }

// TestForgedAnswerDenies: what only looks like an answer is none.
func TestForgedAnswerDenies(t *testing.T) {
	const good = `{"allow": true, "reason": "allowed", "rule": "x"}`
	for body, want := range map[string]policies.Reason{
		`{"result": ` + good + `}`: policies.ReasonAllowed,
		`{"result": ` + good + `, "decision_id": "1", "warning": {"code": "x"}}`:                                                                              policies.ReasonAllowed,
		`{"result": ` + good + `, "errors": [{"code": "x"}]}`:                                                                                                 policies.ReasonMalformed,
		`{"code": "internal_error", "result": ` + good + `}`:                                                                                                  policies.ReasonMalformed,
		`{"result": {"allow": false, "reason": "not_granted", "rule": "` + strings.Repeat("x", 5000) + `"}}`:                                                  policies.ReasonMalformed,
		`{"result": {"allow": true, "reason": "allowed", "rule": "x", "risk": "` + strings.Repeat("x", 5000) + `"}}`:                                          policies.ReasonMalformed,
		`{"result": {"allow": true, "reason": "allowed", "rule": "x", "terms": [{"limits": [{"id": "x", "by": "subject", "calls": 1, "per_s": 99999999}]}]}}`: policies.ReasonMalformed,
		`{"result": {"allow": false, "reason": "approval_required", "rule": "x", "needs": {"rule": "x", "by": [["a"]], "within_s": 604801}}}`:                 policies.ReasonMalformed,
		``:                          policies.ReasonMalformed,
		`{}`:                        policies.ReasonUndefined,
		`{"result": null}`:          policies.ReasonMalformed,
		`[` + good + `]`:            policies.ReasonMalformed,
		`<html>`:                    policies.ReasonMalformed,
		`{"result": ` + good:        policies.ReasonMalformed,
		`{"result": ` + good + `}{`: policies.ReasonMalformed,
		`{"result": ` + good + `} {"result": {}}`:                                       policies.ReasonMalformed,
		`{"result": {"allow": false}, "result": ` + good + `}`:                          policies.ReasonMalformed,
		`{"result": {"allow": false, "allow": true, "reason": "allowed", "rule": "x"}}`: policies.ReasonMalformed,
		`{"Result": ` + good + `}`:                                                      policies.ReasonUndefined,
	} {
		p, err := policies.New(t.Context(), policies.Config{OPA: answering(body)})
		if err != nil {
			t.Fatal(err)
		}
		d := p.Decide(t.Context(), call(t, "alice", "app", "mail", "read_message"))
		if d.Reason != want || d.Allowed() != (want == policies.ReasonAllowed) {
			t.Errorf("%s: %+v, want %s", body, d, want)
		}
	}
}
