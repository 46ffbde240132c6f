package policies_test

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/policies"
)

// What would be refused, or cut, at each call is a mistake of the policy, told when it is
// loaded.
func TestWhatNoCallCouldKeepToIsRefusedAtLoad(t *testing.T) {
	for tools, want := range map[string]string{
		`{t: {approval: {by: [r], within: 169h}}}`:               `within "169h": an approval waits for 7 days at most, write 168h or less`,
		`{t: {approval: {by: [r], within: 168h}}}`:               "",
		`{t: {limits: [{calls: 1, per: 8785h, by: subject}]}}`:   `per "8785h": calls are counted over 366 days at most, write 8784h or less`,
		`{t: {limits: [{calls: 1, per: 8784h, by: subject}]}}`:   "",
		`{t: {limits: [{concurrent: 1073741825, by: subject}]}}`: `concurrent "1073741825": write a number from 1 to 1073741824`,
		`{t: {arguments: {a: {pattern: "\\Qab"}}}}`:              "pattern \"\\\\Qab\" is no regular expression of RE2: error parsing regexp: missing closing ): `\\A(?:\\Qab)\\z`",
		`{t: {arguments: {a: {pattern: "\\Qab\\E"}}}}`:           "",
		`{t: {arguments: {a: {pattern: "a)|(b"}}}}`:              "pattern \"a)|(b\" is no regular expression of RE2: error parsing regexp: unexpected ): `a)|(b`",
	} {
		_, err := policies.New(t.Context(), policies.Config{Access: []byte(toAlice(tools))})
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", tools, err, want)
		}
	}
}

const riskyTemplates = `version: 1
risks: {low: {}, critical: {sender_constrained: true}}
templates:
  calm: {risk: low, servers: {s: {tools: [t]}}}
  worse: {risk: critical, servers: {s: {tools: [u]}}}
`

// A template that begins with a letter before another's must not say how much is at risk.
func TestTemplateLowersTheRiskOfNoOther(t *testing.T) {
	const want = `the templates of role "r" have the risks "low" and "critical": say in the role which it has`
	_, err := policies.New(t.Context(), policies.Config{Access: []byte(riskyTemplates + "roles: {r: {template: [calm, worse], who: {users: [alice]}}}\n")})
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestTemplateLowersNotTheRiskOfTheRole(t *testing.T) {
	for _, template := range []string{"calm", "[calm, worse]"} {
		p := newPDP(t, riskyTemplates+"roles: {r: {template: "+template+", risk: critical, who: {users: [alice]}}}\n")
		argued(t, p, "{}", policies.ReasonSenderConstraint)
	}
}
