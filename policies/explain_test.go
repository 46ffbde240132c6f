package policies_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/policies"
)

const explained = `version: 1
hours:
  office: {days: [mon, tue, wed, thu, fri], from: "09:00", to: "18:00", zone: Asia/Seoul}
servers:
  db:
    tools:
      drop: {risk: high, approval: {by: [boss], within: 15m}}
roles:
  writer:
    who: {users: [alice], claims: {department: [it]}}
    hours: office
    servers:
      db:
        tools:
          insert: {arguments: {limit: {max: 100}}}
          drop:
  auditor:
    who: {groups: [audit]}
    when: {permanent: true}
    servers: {db: {tools: [insert]}}
  boss: {who: {users: [bess]}}
deny:
  guests:
    who: {groups: [guests]}
    servers: {db: {tools: ["*"]}}
    reason: they only look
`

func TestExplainTellsWhatHoldsAndWhere(t *testing.T) {
	q := call(t, "alice", "editor", "db", "insert") // 09:30 in London is 18:30 in Seoul
	q.Arguments, q.Groups = jsontext.Value(`{"limit": 101}`), []string{"audit"}
	got, err := newPDP(t, explained).Explain(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	office := policies.Check{Text: "it must be within the hours office (mon tue wed thu fri 09:00-18:00 Asia/Seoul)", At: "access.yaml:11", Reason: policies.ReasonHours}
	want := policies.Explanation{
		Decision: got.Decision,
		Roles: []policies.RoleCheck{
			{Name: "auditor", At: "access.yaml:17", Named: true, When: []policies.Check{{Text: "claim permanent must be true", At: "access.yaml:19", Reason: policies.ReasonNoRole}}},
			{Name: "boss", At: "access.yaml:21"},
			{Name: "writer", At: "access.yaml:9", Named: true, Has: true},
		},
		Grants: []policies.GrantCheck{
			{Role: "auditor", Rule: "roles.auditor.servers.db.tools.insert", At: "access.yaml:20"},
			{Role: "writer", Rule: "roles.writer.servers.db.tools.insert", At: "access.yaml:15", Has: true, Checks: []policies.Check{
				office, {Text: "argument limit must be at most 100", At: "access.yaml:15", Reason: policies.ReasonArgument},
			}},
		},
		Denials: []policies.DenialCheck{{Rule: "deny.guests", At: "access.yaml:23", Reason: "they only look"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(policies.Decision{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if d := got.Decision; d.Reason != policies.ReasonHours || d.Rule != "access.yaml:15: roles.writer.servers.db.tools.insert" || d.Detail != office.Text {
		t.Errorf("decision %+v", d)
	}
}

func TestMatrixIsThePolicy(t *testing.T) {
	office := "it must be within the hours office (mon tue wed thu fri 09:00-18:00 Asia/Seoul)"
	writer := policies.MatrixGrant{Role: "writer", Server: "db", Kind: "tool"}
	drop, insert := writer, writer
	drop.Name, drop.Rule, drop.At, drop.Risk, drop.Conditions = "drop", "roles.writer.servers.db.tools.drop", "access.yaml:16", "high", []string{`it must be approved by "boss"`, office}
	insert.Name, insert.Rule, insert.At, insert.Conditions = "insert", "roles.writer.servers.db.tools.insert", "access.yaml:15", []string{"argument limit must be at most 100", office}
	want := policies.Matrix{
		Roles: []policies.MatrixRole{
			{Name: "auditor", At: "access.yaml:17", Who: []string{"group audit"}, Conditions: []string{"claim permanent must be true"}},
			{Name: "boss", At: "access.yaml:21", Who: []string{"user bess"}},
			{Name: "writer", At: "access.yaml:9", Who: []string{"user alice", `claim department="it"`}, Conditions: []string{office}},
		},
		Grants: []policies.MatrixGrant{
			{Role: "auditor", Server: "db", Kind: "tool", Name: "insert", Rule: "roles.auditor.servers.db.tools.insert", At: "access.yaml:20"}, drop, insert,
		},
		Denials: []policies.MatrixGrant{{Server: "db", Kind: "tool", Name: "*", Rule: "deny.guests", At: "access.yaml:23", Conditions: []string{"group guests"}}},
	}
	if diff := cmp.Diff(want, newPDP(t, explained).Matrix()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
