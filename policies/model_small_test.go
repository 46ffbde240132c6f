package policies_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// smallConditions are those of a tool, each of which is there or not: tool t with the bits
// of those that it has, as t00101, so that every combination is a tool.
var smallConditions = []string{
	`when: {level: 3}`,
	`hours: office`,
	`arguments: {limit: {max: 100}}`,
	`sender_constrained: true, acr: [gold], max_age: 15m`,
	`risk: high`, // of the server's facts, so that it holds whoever grants the tool
}

// smallAccess has for each combination a tool that role a has with these conditions, role b
// in the office's hours and from a template, and role c by "*" and a claim.
func smallAccess() string {
	var facts, a, half strings.Builder
	for _, tool := range smallTools() {
		var own []string
		for i, c := range smallConditions {
			switch {
			case tool[1+i] == '0':
			case strings.HasPrefix(c, "risk"):
				fmt.Fprintf(&facts, "      %s: {%s}\n", tool, c)
			default:
				own = append(own, c)
			}
		}
		fmt.Fprintf(&a, "          %s: {%s}\n", tool, strings.Join(own, ", "))
		if strings.Count(tool, "1")%2 == 0 {
			fmt.Fprintf(&half, "          - %s\n", tool)
		}
	}
	return fmt.Sprintf(`version: 1
hours:
  office: {days: [mon, tue, wed, thu, fri], from: "09:00", to: "18:00", zone: Asia/Seoul}
  lunch: {from: "12:00", to: "13:00", zone: Asia/Seoul}
risks:
  high: {approval: {by: [boss], within: 15m}}
servers:
  s:
    tools:
%stemplates:
  half:
    servers:
      s:
        tools:
%sroles:
  a:
    who: {groups: [a]}
    servers:
      s:
        tools:
%s  b:
    template: half
    who: {groups: [b]}
    hours: office
  c:
    who: {groups: [c]}
    when: {department: [finance, treasury]}
    servers: {s: {tools: ["*"]}}
  boss: {who: {users: [bess]}}
deny:
  guests: {who: {groups: [guest]}, servers: {s: {tools: [t00000, t11111]}}}
  lunch: {hours: lunch, servers: {s: {tools: [t00000, t00001]}}}
`, facts.String(), half.String(), a.String())
}

func smallTools() (tools []string) {
	for i := range 1 << len(smallConditions) {
		tools = append(tools, fmt.Sprintf("t%0*b", len(smallConditions), i))
	}
	return tools
}

// smallQuestions has every combination of what may differ between two questions.
func smallQuestions(yield func(policies.Request) bool) {
	friday := time.Date(2026, 11, 20, 0, 0, 0, 0, zone("Asia/Seoul"))
	q := policies.Request{Subject: subject("alice"), ClientID: identity.MustClientID("editor"), Action: policies.ActionCallTool, Server: "s"}
	for _, groups := range []string{"", "a", "b", "a c", "a b c guest"} {
		q.Groups = strings.Fields(groups)
		for _, claims := range []string{`{}`, `{"level":3,"department":["x","treasury"]}`} {
			q.Claims = jsontext.Value(claims)
			for _, hour := range []time.Duration{8*time.Hour + 59*time.Minute, 9 * time.Hour, 12 * time.Hour} {
				q.Time = friday.Add(hour)
				if !smallCalls(q, yield) {
					return
				}
			}
		}
	}
}

// smallCalls varies what a call brings: login, key, arguments, approval.
func smallCalls(q policies.Request, yield func(policies.Request) bool) bool {
	for _, login := range []struct {
		acr string
		ago time.Duration
	}{{}, {"gold", 15*time.Minute + time.Second}, {"gold", 15 * time.Minute}} {
		if q.ACR = login.acr; q.ACR != "" {
			q.AuthTime = q.Time.Add(-login.ago)
		}
		for _, q.Bound = range []bool{false, true} {
			for _, q.Arguments = range []jsontext.Value{nil, jsontext.Value(`{"limit":100}`), jsontext.Value(`{"limit":101}`)} {
				if q.Arguments == nil && q.Bound != (login.ago == 15*time.Minute) {
					continue // who only looks is asked for neither: with both and without has to do
				}
				for _, q.Tool = range append(smallTools(), "other") {
					for _, q.Rule = range []string{"", "roles.a.servers.s.tools." + q.Tool, "roles.c.servers.s.tools.*"} {
						if !yield(q) {
							return false
						}
					}
				}
			}
		}
	}
	return true
}

func zone(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return z
}

func subject(name string) identity.Subject {
	s, err := identity.ParseSubject(name)
	if err != nil {
		panic(err)
	}
	return s
}

// TestSmallModel asks a small policy every question that there is, and compares allow and
// reason with the model. The answers come through the cache, so that one that was kept for
// another question shows.
func TestSmallModel(t *testing.T) {
	doc, p := readModel(t, smallAccess()), newPDP(t, smallAccess())
	count, wrong := map[policies.Reason]int{}, 0
	for q := range smallQuestions {
		want, got := doc.decide(q), p.Decide(t.Context(), q)
		if count[want.reason]++; got.Reason != want.reason || got.Allowed() != want.allowed() {
			if wrong++; wrong < 10 {
				t.Errorf("%s\n got %v %s by %s\nwant %s by %s", inALine(q), got.Allowed(), got.Reason, got.Rule, want.reason, want.rule)
			}
		}
	}
	t.Logf("%v, %d wrong", count, wrong)
	for _, r := range slices.Concat(far, []policies.Reason{policies.ReasonDenied, policies.ReasonNotGranted, policies.ReasonNoRole}) {
		if count[r] == 0 {
			t.Errorf("no question is answered by %s: the test shows less than it seems to", r)
		}
	}
}

// inALine is a question in a line.
func inALine(q policies.Request) string {
	return fmt.Sprintf("%s %v %s %s at %s, acr %q at %s, bound %v, rule %q, arguments %s", q.Tool, q.Groups, q.Claims, q.Subject, q.Time, q.ACR, q.AuthTime, q.Bound, q.Rule, q.Arguments)
}
