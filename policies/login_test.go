package policies_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// finance is a policy that reads groups and claims.
const finance = `version: 1
roles:
  staff:
    who: {groups: [staff]}
    servers: {mail: {tools: [read_message]}}
  payer:
    who: {groups: [finance]}
    when: {department: [finance, 7, true]}
    servers: {bank: {tools: [pay]}}
`

// pay is the question of erin, who has logged in, whether she may pay.
func pay(t testing.TB, claims string, groups ...string) policies.Request {
	t.Helper()
	q := call(t, "erin", "claude", "bank", "pay")
	q.Groups, q.Claims = groups, jsontext.Value(claims)
	return q
}

// Two people of one name, or one person before and after they changed department:
// the answer to one is not the other's, whoever comes first.
func TestCachedAnswerIsNotAnotherLogins(t *testing.T) {
	good := pay(t, `{"department":"finance"}`, "finance")
	others := map[string]policies.Request{
		"no groups":             pay(t, `{"department":"finance"}`),
		"another group":         pay(t, `{"department":"finance"}`, "staff"),
		"groups run together":   pay(t, `{"department":"finance"}`, "finan", "ce"),
		"a list in one group":   pay(t, `{"department":"finance"}`, "staff,finance"),
		"a claim as a group":    pay(t, ``, "finance", `{"department":"finance"}`),
		"a group that is c":     pay(t, ``, "finance", "c\x18"+`{"department":"finance"}`),
		"no claims":             pay(t, ``, "finance"),
		"empty claims":          pay(t, `{}`, "finance"),
		"another value":         pay(t, `{"department":"sales"}`, "finance"),
		"another claim":         pay(t, `{"Department":"finance"}`, "finance"),
		"another type of value": pay(t, `{"department":["7"]}`, "finance"),
	}
	for _, goodFirst := range []bool{true, false} {
		p := newPDP(t, finance)
		for range 2 {
			if goodFirst {
				decides(t, p, good, policies.ReasonAllowed)
			}
			for name, q := range others {
				if d := p.Decide(t.Context(), q); d.Allowed() {
					t.Errorf("%s: %+v, want denied", name, d)
				}
			}
			decides(t, p, good, policies.ReasonAllowed)
		}
		if p.Cached() != len(others)+1 {
			t.Errorf("%d answers cached, want %d: this test shows nothing", p.Cached(), len(others)+1)
		}
	}
}

// The operator's own Rego may read the login, by name or as a whole.
func TestOwnRegoIsNotAnsweredForAnotherLogin(t *testing.T) {
	good := pay(t, `{"department":"finance"}`, "finance")
	good.ACR, good.AuthTime = "mfa", time.Unix(1000, 5)
	for name, tt := range map[string]struct {
		condition string
		change    func(*policies.Request)
	}{
		"groups":            {`"finance" in input.groups`, func(q *policies.Request) { q.Groups = []string{"staff"} }},
		"no groups":         {`"finance" in input.groups`, func(q *policies.Request) { q.Groups = nil }},
		"claims":            {`input.claims.department == "finance"`, func(q *policies.Request) { q.Claims = jsontext.Value(`{"department":"sales"}`) }},
		"no claims":         {`input.claims.department == "finance"`, func(q *policies.Request) { q.Claims = nil }},
		"acr":               {`input.acr == "mfa"`, func(q *policies.Request) { q.ACR = "pwd" }},
		"no acr":            {`input.acr == "mfa"`, func(q *policies.Request) { q.ACR = "" }},
		"auth_time":         {`input.auth_time >= 1000`, func(q *policies.Request) { q.AuthTime = time.Unix(999, 0) }},
		"no auth_time":      {`input.auth_time >= 1000`, func(q *policies.Request) { q.AuthTime = time.Time{} }},
		"auth_time of 1900": {`input.auth_time >= 1000`, func(q *policies.Request) { q.AuthTime = time.Unix(-2208988800, 0) }},
		"no acr, denied":    {`input.acr != "pwd"`, func(q *policies.Request) { q.ACR = "" }},
		"no time, denied":   {`input.auth_time <= 1000`, func(q *policies.Request) { q.AuthTime = time.Time{} }},
		"acr in a copy":     {`x := input; x.acr == "mfa"`, func(q *policies.Request) { q.ACR = "pwd" }},
		"a computed name":   {`k := concat("", ["gro", "ups"]); "finance" in input[k]`, func(q *policies.Request) { q.Groups = []string{"staff"} }},
	} {
		t.Run(name, func(t *testing.T) {
			module := fmt.Sprintf("package wicketgate.access\n\ndefault decision := {\"allow\": false, \"reason\": \"not_granted\", \"rule\": \"\"}\n\ndecision := %s if { %s }", allowed, tt.condition)
			p, err := policies.NewWithRego(t.Context(), policies.Config{Access: []byte(example)}, module)
			if err != nil {
				t.Fatal(err)
			}
			good, bad := good, good
			tt.change(&bad)
			for range 2 {
				decides(t, p, good, policies.ReasonAllowed)
				decides(t, p, bad, policies.ReasonNotGranted)
			}
			if !strings.Contains(name, "acr") && !strings.Contains(name, "time") {
				return
			}
			for _, q := range []*policies.Request{&good, &bad} { // of a person of whom nothing else is known
				q.Groups, q.Claims = nil, nil
			}
			decides(t, p, good, policies.ReasonAllowed)
			decides(t, p, bad, policies.ReasonNotGranted)
		})
	}
}

func TestGroupNamedLikeAUserOrClientHasNotTheirRoles(t *testing.T) {
	p := newPDP(t, finance+`  alone:
    who: {users: [alice], clients: [dev-agent]}
    servers: {mail: {tools: ["*"]}}
`)
	q := call(t, "erin", "claude", "mail", "send_message")
	for _, group := range []string{"alice", "dev-agent", "alone", "payer", "users", "groups", "*", "__proto__"} {
		q.Groups = []string{group}
		decides(t, p, q, policies.ReasonNoRole)
	}
	decides(t, p, call(t, "staff", "claude", "mail", "read_message"), policies.ReasonNoRole) // nor the other way
	decides(t, p, call(t, "staff", "staff", "mail", "read_message"), policies.ReasonNoRole)
}

// A workload is in no group, whatever its token says, in access.yaml and in an
// operator's Rego; the person for whom it works is.
func TestWorkloadIsInNoGroup(t *testing.T) {
	own, err := policies.NewWithRego(t.Context(), policies.Config{Access: []byte(example)},
		"package wicketgate.access\n\ndecision := "+allowed+" if \"staff\" in input.groups else := {\"allow\": false, \"reason\": \"no_role\", \"rule\": \"\"}")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*policies.PDP{newPDP(t, finance), own} {
		q := call(t, "dev-agent", "dev-agent", "mail", "read_message")
		q.Groups = []string{"staff"}
		decides(t, p, q, policies.ReasonNoRole)
		q.Subject = call(t, "erin", "dev-agent", "mail", "read_message").Subject
		decides(t, p, q, policies.ReasonAllowed)
		q.Groups, q.Actors = nil, []identity.ClientID{identity.MustClientID("staff")}
		decides(t, p, q, policies.ReasonNoRole)
	}
}

// What is no claim as a token has them answers no question, and nothing is
// remembered of it.
func TestClaimsOfAnotherFormAreDenied(t *testing.T) {
	p := newPDP(t, finance)
	for _, claims := range []string{
		" ", "null", "[]", `"department"`, "7", `{"department":"finance"}{}`, `{"department":"finance","department":"sales"}`,
		`{"department":null}`, `{"department":{"a":"finance"}}`, `{"department":["finance",null]}`, `{"department":[["finance"]]}`, `{"department":[7]}`,
		`{"department":"finance","other":null}`, "{\"department\":\"finance\xff\"}", `{"department":"finance","x":"` + strings.Repeat("x", 4<<10) + `"}`,
	} {
		decides(t, p, pay(t, claims, "finance"), policies.ReasonInvalidRequest)
	}
	if p.Cached() != 0 {
		t.Errorf("%d answers cached, want none", p.Cached())
	}
}

func TestTenThousandGroupsAreDenied(t *testing.T) {
	p := newPDP(t, finance)
	groups := []string{"finance"}
	for i := range 10_000 {
		groups = append(groups, fmt.Sprint("g", i))
	}
	decides(t, p, pay(t, `{"department":"finance"}`, groups...), policies.ReasonInvalidRequest)
	decides(t, p, pay(t, `{"department":"finance"}`, groups[:201]...), policies.ReasonInvalidRequest)
	decides(t, p, pay(t, `{"department":"finance"}`, groups[:200]...), policies.ReasonAllowed)
}

// Claims named like the structure of the input, of the data or of a language are
// claims like any other.
func TestClaimNamedLikeTheStructureIsAClaim(t *testing.T) {
	for _, name := range []string{"__proto__", "constructor", "toString", "kind", "name", "groups", "claims", "when", "roles", "input", "0", "a.b", "https://idp.example/claims/x", `a"b\c`, "a[b]", "ä b"} {
		p := newPDP(t, strings.Replace(finance, "department:", fmt.Sprintf("%q:", name), 1))
		quoted, err := jsontext.AppendQuote(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		decides(t, p, pay(t, "{"+string(quoted)+`:"finance"}`, "finance"), policies.ReasonAllowed)
		decides(t, p, pay(t, `{"department":"finance","kind ":"finance"}`, "finance"), policies.ReasonNoRole)
		decides(t, p, pay(t, ``, "finance"), policies.ReasonNoRole)
	}
}

// TestValuesAreEqualAsInJSON compares what the policy names with what the claim is.
func TestValuesAreEqualAsInJSON(t *testing.T) {
	for _, tt := range []struct {
		policy, claim string
		want          bool
	}{
		{`finance`, `"finance"`, true}, {`finance`, `"Finance"`, false}, {`finance`, `"finance "`, false}, {`finance`, `"f\u0069nance"`, true},
		{`finance`, `["sales","finance"]`, true}, {`finance`, `[]`, false}, {`finance`, `["sales"]`, false},
		{`"é"`, `"e\u0301"`, false}, // not normalised: two spellings are two names
		{`yes`, `true`, false}, {`true`, `true`, true}, {`true`, `"true"`, false}, {`true`, `1`, false}, {`false`, `false`, true}, {`"true"`, `true`, false},
		{`7`, `7`, true}, {`7`, `7.0`, true}, {`7`, `70e-1`, true}, {`7`, `"7"`, false}, {`7`, `["7"]`, false}, {`"7"`, `7`, false}, {`"7"`, `["7"]`, true},
		{`-0`, `0`, true}, {`0`, `false`, false}, {`""`, `""`, true}, {`""`, `[]`, false}, {`0.1`, `1e-1`, true},
		{`9007199254740993`, `9007199254740993`, true}, {`9007199254740993`, `9007199254740992`, false},
		{`["4711", 4712]`, `"4711"`, true}, {`["4711", 4712]`, `4712`, true}, {`["4711", 4712]`, `4711`, false}, {`["4711", 4712]`, `"4712"`, false},
	} {
		p := newPDP(t, strings.Replace(finance, "[finance, 7, true]", tt.policy, 1))
		if d := p.Decide(t.Context(), pay(t, `{"department":`+tt.claim+`}`, "finance")); d.Allowed() != tt.want {
			t.Errorf("when %s, claim %s: %+v, want %v", tt.policy, tt.claim, d, tt.want)
		}
	}
}

// A policy that asks for neither is not slower, and remembers no more, for what
// tokens say.
func TestLoginThatNobodyReadsIsNotTakenApart(t *testing.T) {
	p := newPDP(t, example)
	for i := range 10 {
		q := call(t, "alice", "claude", "mail", "read_message")
		q.Groups, q.Claims, q.ACR, q.AuthTime = []string{fmt.Sprint("g", i)}, jsontext.Value(fmt.Sprintf(`{"n":%d}`, i)), fmt.Sprint(i), time.Unix(int64(i), 0)
		decides(t, p, q, policies.ReasonAllowed)
	}
	if p.Cached() != 1 {
		t.Errorf("%d answers cached, want 1", p.Cached())
	}
}

func TestConditionsAndGroupsChangeTheDigest(t *testing.T) {
	seen := map[string]string{}
	for _, edit := range [][2]string{
		{"", ""}, {"groups: [finance]", "users: [finance]"}, {"groups: [finance]", "groups: [finance, staff]"}, {"finance, 7, true", "finance, 7"},
		{"finance, 7, true", `finance, "7", true`}, {"finance, 7, true", "finance, 7, false"}, {"department:", "dept:"}, {"    when: {department: [finance, 7, true]}\n", ""},
	} {
		doc := strings.Replace(finance, edit[0], edit[1], 1)
		d := newPDP(t, doc).Digest()
		if other, ok := seen[d]; ok {
			t.Errorf("one digest for\n%s\nand\n%s", doc, other)
		}
		seen[d] = doc
	}
	for _, edit := range [][2]string{{"[finance, 7, true]", "[true, finance, 7]"}, {"version", "# a comment\nversion"}} {
		if doc := strings.Replace(finance, edit[0], edit[1], 1); seen[newPDP(t, doc).Digest()] == "" {
			t.Errorf("another digest for the same\n%s", doc)
		}
	}
}

// TestDocumentedPolicies loads every example of docs/write-policy.md; those about
// groups, workloads and resources are the ones whose decisions are in testdata.
func TestDocumentedPolicies(t *testing.T) {
	b, err := os.ReadFile("../docs/write-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for i, part := range strings.Split(string(b), "```") {
		if doc, ok := strings.CutPrefix(part, "yaml\n"); ok && i%2 == 1 {
			if strings.HasPrefix(doc, "cases:") {
				if _, err := policies.ParseCases("docs/write-policy.md", []byte(doc)); err != nil {
					t.Error(err)
				}
				continue
			}
			newPDP(t, doc)
			examples = append(examples, doc)
		}
	}
	for _, file := range []string{"testdata/groups.txtar", "testdata/workloads.txtar", "testdata/resources.txtar"} {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(examples, string(a.Files[0].Data)) {
			t.Errorf("of %d examples none is that of %s", len(examples), file)
		}
	}
}
