package oidc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/oidc"
)

func names(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("g%03d", i)
	}
	return list
}

func TestGroupsAndClaims(t *testing.T) {
	keep := func(names ...string) func(*oidc.Config) { return func(c *oidc.Config) { c.Claims = names } }
	from := func(name string) func(*oidc.Config) { return func(c *oidc.Config) { c.GroupsClaim = name } }
	tests := []struct {
		name   string
		config func(*oidc.Config)
		lie    func(object)
		groups []string
		claims object
	}{
		{"nothing", nil, nil, nil, object{}},
		{"groups, each once", nil, func(c object) { c["groups"] = []string{"b", "a", "b"} }, []string{"a", "b"}, object{}},
		{"one group that is no list", nil, func(c object) { c["groups"] = `Domain "Admins"` }, []string{`Domain "Admins"`}, object{}},
		{"groups that are null", nil, func(c object) { c["groups"] = nil }, nil, object{}},
		{"as many groups as there may be", nil, func(c object) { c["groups"] = names(200) }, names(200), object{}},
		{"groups inside another claim", from("realm_access.roles"), func(c object) { c["realm_access"] = object{"roles": []string{"a"}} }, []string{"a"}, object{}},
		{"nothing inside another claim", from("realm_access.roles"), func(c object) { c["realm_access"] = object{"roles": nil} }, nil, object{}},
		{"another claim that is no object", from("realm_access.roles"), func(c object) { c["realm_access"] = "roles" }, nil, object{}},
		{"groups under a name with dots", from("https://idp.example/groups"), func(c object) { c["https://idp.example/groups"] = []string{"a"} }, []string{"a"}, object{}},
		{"claims of each kind", keep("s", "n", "b", "l", "o.i", "absent", "null"), func(c object) {
			c["s"], c["n"], c["b"], c["l"], c["o"], c["null"] = "x", 47.5, false, []string{"x", "y"}, object{"i": 1}, nil
		}, nil, object{"s": "x", "n": 47.5, "b": false, "l": []string{"x", "y"}, "o.i": 1.0}},
		{"a claim that nobody asked for", keep("s"), func(c object) { c["s"], c["admin"] = "x", true }, nil, object{"s": "x"}},
		{"claims as large as they may be", keep("s"), func(c object) { c["s"] = strings.Repeat("x", 4096-3) }, nil, object{"s": strings.Repeat("x", 4096-3)}},
		{"a reference to a claim that does not matter", keep("s"), func(c object) {
			c["_claim_names"], c["_claim_sources"] = object{"photo": "src1"}, object{"src1": object{"endpoint": "https://graph.example"}}
		}, nil, object{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEvil(t)
			e.lie = tt.lie
			person, err := e.login(t, newWorld(t, e.URL, tt.config), newLogin(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.groups, person.Groups) + cmp.Diff(tt.claims, person.Claims); d != "" {
				t.Error(d)
			}
		})
	}
}

// overage is what Entra ID says of people in more groups than fit.
func overage(c object) {
	c["_claim_names"] = object{"groups": "src1"}
	c["_claim_sources"] = object{"src1": object{"endpoint": "https://graph.example/users/1/getMemberObjects"}}
}

// TestClaimsThatWouldMislead: what cannot be kept whole is an error, never less
// than what the IdP says.
func TestClaimsThatWouldMislead(t *testing.T) {
	subject := func(name string) func(*oidc.Config) { return func(c *oidc.Config) { c.SubjectClaim = name } }
	keep := func(c *oidc.Config) { c.Claims = []string{"department", "cost_centre"} }
	path := func(c *oidc.Config) { c.GroupsClaim = "groups.all" }
	tests := []struct {
		name   string
		config func(*oidc.Config)
		lie    func(object)
		cause  string
	}{
		{"more groups than we keep", nil, func(c object) { c["groups"] = names(201) }, `claim "groups" lists 201 groups`},
		{"a reference to the groups, there are so many", nil, overage, `claim "groups"`},
		{"a reference to what holds the groups", path, overage, `claim "groups"`},
		{"a reference to a claim to keep", keep, func(c object) { overage(c); c["_claim_names"] = object{"department": "src1"} }, `claim "department"`},
		{"a group without name", nil, func(c object) { c["groups"] = []string{""} }, `claim "groups"`},
		{"a group with a very long name", nil, func(c object) { c["groups"] = []string{strings.Repeat("x", 257)} }, `claim "groups"`},
		{"groups that are numbers", nil, func(c object) { c["groups"] = []int{1} }, `claim "groups"`},
		{"a group that is null", nil, func(c object) { c["groups"] = []any{nil} }, `claim "groups"`},
		{"groups that are an object", nil, func(c object) { c["groups"] = object{"a": true} }, `claim "groups"`},

		{"a claim larger than all may be", keep, func(c object) { c["department"] = strings.Repeat("x", 4096) }, `claim "department"`},
		{"claims that are too large together", keep, func(c object) {
			c["department"], c["cost_centre"] = strings.Repeat("x", 4000), strings.Repeat("x", 100)
		}, `claim "cost_centre"`},
		{"a claim that is an object", keep, func(c object) { c["department"] = object{"a": 1} }, `claim "department"`},
		{"a claim that is a list of all sorts", keep, func(c object) { c["department"] = []any{"a", 1} }, `claim "department"`},
		{"a claim that is a list with null", keep, func(c object) { c["department"] = []any{"a", nil} }, `claim "department"`},
		{"a number that another one would equal", keep, func(c object) { c["cost_centre"] = int64(1)<<53 + 2 }, `claim "cost_centre"`},

		{"nobody", nil, func(c object) { delete(c, "sub") }, "names no sub"},
		{"nobody, in the name of somebody", subject("preferred_username"), func(c object) { delete(c, "sub"); c["preferred_username"] = "alice" }, "names no sub"},
		{"a name with a line of the log in it", nil, func(c object) { c["sub"] = "alice\nbob" }, `claim "sub"`},
		{"a name that looks like another", nil, func(c object) { c["sub"] = "alice\u200b" }, `claim "sub"`},
		{"a name that is too long", nil, func(c object) { c["sub"] = strings.Repeat("x", 256) }, `claim "sub"`},
		{"an address that nobody has verified", subject("email"), func(c object) { c["email"] = "alice@example.org" }, "email_verified"},
		{"an address that is not verified", subject("email"), func(c object) { c["email"], c["email_verified"] = "alice@example.org", false }, "email_verified"},
		{"an address that is verified in a string", subject("email"), func(c object) { c["email"], c["email_verified"] = "alice@example.org", "true" }, "email_verified"},
		{"no address", subject("email"), func(c object) { c["email_verified"] = true }, `claim "email"`},
		{"no name", subject("preferred_username"), nil, `claim "preferred_username"`},
		{"a name that is a number", subject("preferred_username"), func(c object) { c["preferred_username"] = 1 }, `claim "preferred_username"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEvil(t)
			e.lie = tt.lie
			_, err := e.login(t, newWorld(t, e.URL, tt.config), newLogin(), nil)
			wantRefusal(t, err, oauth.AccessDenied, tt.cause)
		})
	}
}

func TestTheSubjectIsWhatTheConfigurationSays(t *testing.T) {
	for claim, want := range map[string]string{"": "alice", "sub": "alice", "email": "a@example.org", "preferred_username": "al"} {
		e := newEvil(t)
		e.lie = func(c object) { c["email"], c["email_verified"], c["preferred_username"] = "a@example.org", true, "al" }
		person, err := e.login(t, newWorld(t, e.URL, func(c *oidc.Config) { c.SubjectClaim = claim }), newLogin(), nil)
		if err != nil || person.Subject.String() != want {
			t.Errorf("%q: subject %s, %v, want %s", claim, person.Subject, err, want)
		}
	}
}
