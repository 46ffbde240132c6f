package policies_test

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// exampleCase is a case of examples/*/cases.yaml, in the format of wicketgate policy test.
type exampleCase struct {
	Name      string    `yaml:"name"`
	Subject   string    `yaml:"subject"`
	Client    string    `yaml:"client"`
	Workload  bool      `yaml:"workload"`
	Groups    []string  `yaml:"groups"`
	Claims    yaml.Node `yaml:"claims"`
	ACR       string    `yaml:"acr"`
	AuthTime  time.Time `yaml:"auth_time"`
	Bound     bool      `yaml:"bound"`
	Server    string    `yaml:"server"`
	Tool      string    `yaml:"tool"`
	Resource  string    `yaml:"resource"`
	Prompt    string    `yaml:"prompt"`
	Arguments yaml.Node `yaml:"arguments"`
	Time      time.Time `yaml:"time"`
	Approved  bool      `yaml:"approved"`
	Want      string    `yaml:"want"`
	Reason    string    `yaml:"reason"`
}

// TestExamples runs the cases of each example. They say what the example promises: a case
// that is allowed goes red when its grant goes, one that is denied when it is granted.
func TestExamples(t *testing.T) {
	for _, file := range globbed(t, "examples/*/access.yaml") {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			p, err := policies.Load(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range exampleCases(t, filepath.Dir(file)) {
				t.Run(c.Name, func(t *testing.T) { c.run(t, p) })
			}
		})
	}
}

// TestExamplesByTheModel runs the same cases by the model: whoever reads it as what
// access.yaml means can rely on that.
func TestExamplesByTheModel(t *testing.T) {
	for _, file := range globbed(t, "examples/*/access.yaml") {
		doc := readModel(t, string(readFile(t, file)))
		for _, c := range exampleCases(t, filepath.Dir(file)) {
			q := c.request(t)
			a := doc.decide(q)
			if c.Approved && a.reason == policies.ReasonApproval {
				q.Rule = a.rule
				a = doc.decide(q)
			}
			if c.Reason != "" && string(a.reason) != c.Reason || a.allowed() != (c.Want == "allow") {
				t.Errorf("%s: %s, want %s %s", c.Name, a.reason, c.Want, c.Reason)
			}
		}
	}
}

func exampleCases(t *testing.T, dir string) []exampleCase {
	b, err := os.ReadFile(filepath.Join(dir, "cases.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []exampleCase `yaml:"cases"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil || len(doc.Cases) == 0 {
		t.Fatalf("%d cases, %v", len(doc.Cases), err)
	}
	return doc.Cases
}

func (c exampleCase) run(t *testing.T, p *policies.PDP) {
	q := c.request(t)
	d := p.Decide(t.Context(), q)
	if c.Approved {
		if d.Reason == policies.ReasonApproval && d.Needs.Rule == "" {
			t.Fatalf("no rule to approve it for: %+v", d)
		}
		q.Rule = d.Needs.Rule
		d = p.Decide(t.Context(), q)
	}
	if got := outcome(d); got != c.Want || c.Reason != "" && string(d.Reason) != c.Reason {
		t.Errorf("%s, want %s %s: %+v", got, c.Want, c.Reason, d)
	}
}

func (c exampleCase) request(t *testing.T) policies.Request {
	q := policies.Request{
		ClientID: identity.MustClientID(cmp.Or(c.Client, "test")), Workload: c.Workload, Groups: c.Groups, Claims: asJSON(t, &c.Claims),
		ACR: c.ACR, AuthTime: c.AuthTime, Bound: c.Bound, Server: c.Server, Tool: c.Tool, Resource: c.Resource, Prompt: c.Prompt,
		Arguments: asJSON(t, &c.Arguments), Time: c.Time, Action: policies.ActionCallTool,
	}
	switch {
	case c.Resource != "":
		q.Action = policies.ActionReadResource
	case c.Prompt != "":
		q.Action = policies.ActionGetPrompt
	}
	if q.Time.IsZero() {
		q.Time = time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	}
	var err error
	if q.Subject, err = identity.ParseSubject(c.Subject); err != nil {
		t.Fatal(err)
	}
	return q
}

// outcome is the decision in the words of a case.
func outcome(d policies.Decision) string {
	switch {
	case d.Allowed():
		return "allow"
	case d.Reason == policies.ReasonApproval:
		return "approval"
	case d.Reason == policies.ReasonStepUp:
		return "step_up"
	case d.Reason == policies.ReasonSenderConstraint:
		return "sender_constraint"
	}
	return "deny"
}

// asJSON writes a node as JSON, numbers as they are written; nil for none.
func asJSON(t testing.TB, n *yaml.Node) jsontext.Value {
	t.Helper()
	if n.IsZero() {
		return nil
	}
	var b bytes.Buffer
	e := jsontext.NewEncoder(&b)
	if err := writeJSON(e, n); err != nil {
		t.Fatal(err)
	}
	return jsontext.Value(bytes.TrimSpace(b.Bytes()))
}

func writeJSON(e *jsontext.Encoder, n *yaml.Node) error {
	open, end := jsontext.BeginObject, jsontext.EndObject
	switch n.Kind {
	case yaml.DocumentNode:
		return writeJSON(e, n.Content[0])
	case yaml.ScalarNode:
		if tag := n.ShortTag(); tag == "!!int" || tag == "!!float" || tag == "!!bool" || tag == "!!null" && n.Value == "null" {
			return e.WriteValue(jsontext.Value(n.Value))
		} else if tag == "!!null" {
			return e.WriteToken(jsontext.Null)
		}
		return e.WriteToken(jsontext.String(n.Value))
	case yaml.SequenceNode:
		open, end = jsontext.BeginArray, jsontext.EndArray
	}
	if err := e.WriteToken(open); err != nil {
		return err
	}
	for i, c := range n.Content {
		var err error
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			err = e.WriteToken(jsontext.String(c.Value))
		} else {
			err = writeJSON(e, c)
		}
		if err != nil {
			return err
		}
	}
	return e.WriteToken(end)
}
