package policies_test

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/policies"
)

func TestCasesRunAgainstAPolicy(t *testing.T) {
	pdp, err := policies.New(t.Context(), policies.Config{Access: []byte("version: 1\nroles:\n  reader:\n    who: {users: [alice], clients: [agent]}\n    servers:\n      mail: {tools: [read_message], resources: [\"file:///a\"], prompts: [hello]}\n  finance:\n    who: {groups: [finance]}\n    when: {department: 4711}\n    servers:\n      bank: {tools: [pay]}\n")})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, of, wrong string }{
		{"allowed", `{name: a, subject: alice, server: mail, tool: read_message, want: allow, reason: allowed}`, ""},
		{"of a workload", `{name: a, client: agent, server: mail, tool: read_message, want: allow}`, ""},
		{"a workload of a person's name", `{name: a, client: alice, server: mail, tool: read_message, want: deny, reason: no_role}`, ""},
		{"a workload that another one acts for", `{name: a, subject: agent, client: other, workload: true, server: mail, tool: read_message, want: allow}`, ""},
		{"resource", `{name: a, subject: alice, server: mail, resource: "file:///a", want: allow}`, ""},
		{"prompt", `{name: a, subject: alice, server: mail, prompt: hello, want: allow}`, ""},
		{"claims keep their types", `{name: a, subject: bob, groups: [finance], claims: {department: 4711}, server: bank, tool: pay, want: allow}`, ""},
		{"text is no number", `{name: a, subject: bob, groups: [finance], claims: {department: "4711"}, server: bank, tool: pay, want: deny}`, ""},
		{"denied", `{name: a, subject: alice, server: mail, tool: delete_message, want: allow}`, "want allow, got deny (not_granted)"},
		{"too much allowed", `{name: a, subject: alice, server: mail, tool: read_message, want: deny}`, "want deny, got allow (allowed)"},
		{"for another reason", `{name: a, subject: bob, server: mail, tool: read_message, want: deny, reason: not_granted}`, "want deny for the reason not_granted, got no_role"},
		{"no approval is asked for", `{name: a, subject: alice, server: mail, tool: read_message, want: approval}`, "want approval, got allow (allowed)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cases, err := policies.ParseCases("c.yaml", []byte("cases:\n  - "+tt.of+"\n"))
			if err != nil || len(cases.Cases) != 1 {
				t.Fatalf("ParseCases() = %+v, %v", cases, err)
			}
			if _, wrong := cases.Cases[0].Run(t.Context(), pdp); wrong != tt.wrong {
				t.Errorf("Run() = %q, want %q", wrong, tt.wrong)
			}
		})
	}
}

// A case that is not understood to the letter would pass for the wrong reason.
func TestCasesAreReadStrictly(t *testing.T) {
	for of, want := range map[string]string{
		``:          "1:1: there are no cases here",
		`cases: []`: "1:8: cases is empty",
		`case: []`:  `1:1: unknown key "case": a file of cases takes policy and cases`,
		`cases: [{name: a, subject: alice, server: mail, tool: t, wants: deny}]`:                                                                   `1:58: unknown key "wants"`,
		`cases: [{name: a, subject: alice, server: mail, tool: t}]`:                                                                                "1:9: the case does not say what it wants",
		`cases: [{name: a, subject: alice, server: mail, tool: t, want: no}]`:                                                                      "1:64: \"no\" is none of allow, deny",
		`cases: [{name: a, subject: alice, server: mail, tool: t, want: allow, reason: no_role}]`:                                                  "1:79: the reason no_role is never that of allow",
		`cases: [{name: a, subject: alice, server: mail, tool: t, want: deny, reason: because}]`:                                                   `"because" is none of`,
		`cases: [{subject: alice, server: mail, tool: t, want: deny}]`:                                                                             "the case has no name",
		`cases: [{name: a, server: mail, tool: t, want: deny}]`:                                                                                    "the case has no caller",
		`cases: [{name: a, subject: alice, tool: t, want: deny}]`:                                                                                  "names no server",
		`cases: [{name: a, subject: alice, server: mail, want: deny}]`:                                                                             "this one names 0",
		`cases: [{name: a, subject: alice, server: mail, tool: t, prompt: t, want: deny}]`:                                                         "this one names 2",
		`cases: [{name: a, subject: alice, server: mail, resource: "a://b", arguments: {}, want: deny}]`:                                           "read without arguments",
		`cases: [{name: a, subject: alice, server: mail, tool: t, time: noon, want: deny}]`:                                                        `time is "noon": write a time`,
		`cases: [{name: a, subject: alice, server: mail, tool: t, bound: yes, want: deny}]`:                                                        `bound is "yes": write true or false`,
		`cases: [{name: a, subject: alice, server: mail, tool: t, arguments: {n: 0x10}, want: deny}]`:                                              "1:73: value 0x10 is neither",
		`cases: [{name: a, subject: alice, server: mail, tool: t, arguments: {n: 1, n: 2}, want: deny}]`:                                           `key "n" is already on line 1`,
		`cases: [{name: a, subject: alice, server: mail, tool: t, arguments: [], want: deny}]`:                                                     "arguments must be a mapping",
		"cases:\n  - {name: a, subject: alice, server: mail, tool: t, want: deny}\n  - {name: a, subject: bob, server: mail, tool: t, want: deny}": "3:5: a case named \"a\" is already on line 2",
	} {
		if _, err := policies.ParseCases("c.yaml", []byte(of)); err == nil || !strings.Contains(err.Error(), "c.yaml:") || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseCases(%s) = %v, want %q", of, err, want)
		}
	}
}

func TestCasesKeepTheirArguments(t *testing.T) {
	cases, err := policies.ParseCases("c.yaml", []byte(`policy: access.yaml
cases:
  - name: a
    subject: alice
    server: mail
    tool: t
    arguments: {s: "1", n: 1.50, b: true, z: null, o: {k: [1, two]}}
    want: deny
`))
	if err != nil || cases.Policy != "access.yaml" {
		t.Fatalf("ParseCases() = %+v, %v", cases, err)
	}
	c := cases.Cases[0]
	if got, want := string(c.Request.Arguments), `{"s":"1","n":1.50,"b":true,"z":null,"o":{"k":[1,"two"]}}`; got != want || c.At != "c.yaml:3" {
		t.Errorf("%s: arguments %s, want %s", c.At, got, want)
	}
}
