package policies_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// toAlice is a policy that grants alice tools of the server s, as YAML has them.
func toAlice(tools string) string {
	return "version: 1\nroles: {r: {who: {users: [alice]}, servers: {s: {tools: " + tools + "}}}}\n"
}

// argued asks for tool t of the server s with the arguments.
func argued(t *testing.T, p *policies.PDP, arguments string, want policies.Reason) {
	t.Helper()
	q := call(t, "alice", "editor", "s", "t")
	q.Arguments = jsontext.Value(arguments)
	if d := p.Decide(t.Context(), q); d.Reason != want {
		t.Errorf("%s: %v %s, want %s", arguments, d.Allowed(), d.Reason, want)
	}
}

// An argument beside one of another spelling may be the one that the server takes.
func TestArgumentInASecondSpellingIsInDoubt(t *testing.T) {
	for constraint, good := range map[string]string{
		`max: 100`: `5`, `min: 1`: `5`, `enum: [5]`: `5`, `pattern: "a"`: `"a"`, `max_length: 5`: `"a"`, `claim: sub`: `"alice"`,
		`domains: [example.com]`: `"a@example.com"`, `paths: ["/srv/*"]`: `"/srv/x"`, `max: 100, optional: true`: `5`,
	} {
		p := newPDP(t, toAlice(`{t: {arguments: {max_rows: {`+constraint+`}}}}`))
		argued(t, p, `{"max_rows":`+good+`,"other":1}`, policies.ReasonAllowed)
		for _, other := range []string{"Max_Rows", "MAX_ROWS", "maxRows", "max-rows", "maxrows", "max_row\u017f"} {
			argued(t, p, `{"max_rows":`+good+`,"`+other+`":"evil"}`, policies.ReasonArgument)
			argued(t, p, `{"`+other+`":"evil"}`, policies.ReasonArgument)
		}
	}
}

// That another tool has a condition on the other spelling does not make it known here.
func TestSecondSpellingThatAnotherToolHasIsInDoubt(t *testing.T) {
	p := newPDP(t, toAlice(`{t: {arguments: {limit: {max: 100}}}, u: {arguments: {Limit: {max: 100}}}}`))
	argued(t, p, `{"limit":5}`, policies.ReasonAllowed)
	argued(t, p, `{"limit":5,"Limit":5000}`, policies.ReasonArgument)
}

// curl and whoever puts https:// before it take it for the host that ends at the slash.
func TestMailAddressThatIsAURLOfAnotherHost(t *testing.T) {
	p := newPDP(t, toAlice(`{t: {arguments: {to: {domains: [example.com]}}}}`))
	argued(t, p, `{"to":"a.b+c@example.com"}`, policies.ReasonAllowed)
	for _, to := range []string{"evil.example/@example.com", "evil.example/a@example.com", "evil.example?a@example.com", "evil.example#@example.com", "/@example.com", "//evil.example/@example.com"} {
		argued(t, p, `{"to":"`+to+`"}`, policies.ReasonArgument)
	}
}
