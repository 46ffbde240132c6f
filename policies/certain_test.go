package policies_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/policies"
)

// A replay that took what it does not know for "no" would tell an engineer that a policy
// changes nothing when it does.
func TestMissingNamesWhatADecisionHangsOn(t *testing.T) {
	fact := func(s string) policies.Fact {
		of, name, _ := strings.Cut(s, " ")
		return policies.Fact{Of: policies.FactKind(of), Name: name}
	}
	check := func(holds bool, reads ...string) policies.Check {
		c := policies.Check{Holds: holds}
		for _, r := range reads {
			c.Reads = append(c.Reads, fact(r))
		}
		return c
	}
	has := policies.RoleCheck{Name: "r", Named: true, Has: true}
	maybe := policies.RoleCheck{Name: "r", Reads: []policies.Fact{fact("group g")}}
	grant := func(c ...policies.Check) []policies.GrantCheck { return []policies.GrantCheck{{Role: "r", Checks: c}} }
	for _, tt := range []struct {
		name, want string
		reason     policies.Reason
		roles      []policies.RoleCheck
		grants     []policies.GrantCheck
		denials    []policies.DenialCheck
	}{
		{"nothing names it", "", policies.ReasonNotGranted, []policies.RoleCheck{maybe}, nil, nil},
		{"a role by an unknown group", "group g", policies.ReasonNoRole, []policies.RoleCheck{maybe}, grant(), nil},
		{"but its grant cannot hold", "", policies.ReasonHours, []policies.RoleCheck{maybe}, grant(check(false)), nil},
		{"an unknown argument", "argument a", policies.ReasonArgument, []policies.RoleCheck{has}, grant(check(false, "argument a")), nil},
		{"one that seems to hold because it is optional", "argument a", policies.ReasonAllowed, []policies.RoleCheck{has}, grant(check(true, "argument a")), nil},
		{"an approval by an unknown group", "group g", policies.ReasonNoRole, []policies.RoleCheck{maybe}, grant(policies.Check{Reason: policies.ReasonApproval}), nil},
		{"and another grant that holds", "", policies.ReasonAllowed, []policies.RoleCheck{has}, append(grant(check(true, "argument a")), grant(check(true))...), nil},
		{"an unknown claim of when", "claim c", policies.ReasonCondition, []policies.RoleCheck{{Name: "r", Named: true, When: []policies.Check{check(false, "claim c")}}}, grant(), nil},
		{"of a role that the caller is not in", "", policies.ReasonNoRole, []policies.RoleCheck{{Name: "r", When: []policies.Check{check(false, "claim c")}}}, grant(), nil},
		{"a denial by an unknown group", "group bad", policies.ReasonAllowed, []policies.RoleCheck{has}, grant(), []policies.DenialCheck{{Reads: []policies.Fact{fact("group bad")}}}},
		{"of what is denied anyway", "", policies.ReasonNotGranted, []policies.RoleCheck{has}, nil, []policies.DenialCheck{{Reads: []policies.Fact{fact("group bad")}}}},
		{"of what would wait for an approval", "group bad", policies.ReasonApproval, []policies.RoleCheck{has}, grant(policies.Check{Reason: policies.ReasonApproval}), []policies.DenialCheck{{Reads: []policies.Fact{fact("group bad")}}}},
		{"a denial that applies ends it", "", policies.ReasonDenied, []policies.RoleCheck{maybe}, grant(check(true, "argument a")), []policies.DenialCheck{{Applies: true, Reads: []policies.Fact{fact("group x")}}}},
	} {
		e := policies.Explanation{Decision: policies.Decision{Reason: tt.reason}, Roles: tt.roles, Grants: tt.grants, Denials: tt.denials}
		if got := fmt.Sprint(e.Missing(func(policies.Fact) bool { return false })); got != "["+tt.want+"]" {
			t.Errorf("%s: Missing() = %s, want [%s]", tt.name, got, tt.want)
		}
		if got := e.Missing(func(policies.Fact) bool { return true }); len(got) > 0 {
			t.Errorf("%s: everything is known, and %v is missing", tt.name, got)
		}
	}
}
