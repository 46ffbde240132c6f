package federation_test

import (
	"errors"
	"testing"

	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

func (w *world) grant(changes ...object) (token.Foreign, string, error) {
	w.t.Helper()
	f, r, err := w.table.Grant(w.t.Context(), sign(ecKey, grantHeader, idJAG.and(changes...)), agent, token.Confirmation{})
	return f, r.String(), err
}

func TestIDJAGThatIsRefused(t *testing.T) {
	w := newWorld(t)
	for name, attack := range map[string]object{
		"of another client":              {"client_id": "other"},
		"of a client in capitals":        {"client_id": "Agent"},
		"of no client":                   {"client_id": nil},
		"of two clients":                 {"client_id": []string{"agent", "other"}},
		"client in azp":                  {"client_id": nil, "azp": "agent"},
		"for no resource":                {"resource": nil},
		"for a resource elsewhere":       {"resource": "https://other.example/mcp"},
		"for an upstream":                {"resource": upstream},
		"for two resources":              {"resource": []string{mail, files}},
		"for resources as an object":     {"resource": object{"uri": mail}},
		"for the issuer":                 {"resource": ours},
		"for the token endpoint":         {"aud": endpoint},
		"without jti":                    {"jti": nil},
		"jti empty":                      {"jti": ""},
		"living long":                    {"iat": now.Unix() - 10, "exp": now.Unix() + 20*60},
		"issued ahead, and living long":  {"iat": now.Unix() + 50, "exp": now.Unix() + 50 + 20*60 + 61},
		"scope that is none of ours":     {"scope": "mcp:tools mail.read"},
		"scope empty":                    {"scope": " "},
		"scope a list":                   {"scope": []string{"mcp:tools"}},
		"scope null":                     {"scope": nullValue},
		"with a chain":                   {"act": object{"sub": "bot"}},
		"with may_act":                   {"may_act": object{"sub": "bot"}},
		"with details":                   {"authorization_details": []object{}},
		"for a tenant of ours":           {"aud_tenant": "acme"},
		"of a tenant":                    {"tenant": "acme"},
		"bound to a key":                 {"cnf": object{"jkt": thumb}},
		"bound to what is not known":     {"cnf": object{"osc": "x"}},
		"of somebody with a client name": {"sub": "x", "iss": idp, "jti": "g", "client_id": ""},
	} {
		if f, _, err := w.grant(attack); err == nil {
			t.Errorf("%s: taken: %+v", name, f)
		}
	}
	if _, _, err := w.table.Grant(t.Context(), doors[1].token(object{"client_id": nil}), identity.ClientID{}, token.Confirmation{}); err == nil {
		t.Error("taken from nobody")
	}
}

func TestIDJAGIsWhatItSays(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) {
		c.Issuers[0].Prefix, c.Issuers[0].GroupsClaim, c.Issuers[0].Claims = "", "groups", []string{"acr", "auth_time"}
	})
	f, r, err := w.grant(object{"groups": []string{"staff"}, "acr": "mfa", "auth_time": now.Unix() - 5, "resource": []string{mail + "/"}, "amr": []string{"mfa"}, "email": "a@b.example"})
	if err != nil || r != mail || f.Subject.String() != "alice" || f.ClientID != agent || f.Issuer != idp || f.ID != "g1" || f.Scope.String() != "mcp:tools" ||
		len(f.Groups) != 1 || f.ACR != "mfa" || f.AuthTime.Unix() != now.Unix()-5 || f.Expiry.Unix() != now.Unix()+290 {
		t.Errorf("%+v, %s, %v", f, r, err)
	}
	if f, _, err := w.grant(object{"scope": nil}); err != nil || !f.Scope.IsZero() {
		t.Errorf("without scope: %v, %v", f.Scope, err)
	}
}

func TestIDJAGBoundToAKey(t *testing.T) {
	w := newWorld(t)
	raw := doors[1].token(object{"cnf": object{"jkt": thumb}})
	if _, _, err := w.table.Grant(t.Context(), raw, agent, token.Confirmation{X5T: thumb}); !errors.Is(err, token.ErrUnproven) {
		t.Error(err)
	}
	if f, _, err := w.table.Grant(t.Context(), raw, agent, token.Confirmation{JKT: thumb}); err != nil || f.Confirmation.JKT != thumb {
		t.Errorf("%+v, %v", f.Confirmation, err)
	}
}

// TestIDJAGOfAnIssuerForOtherThings: trust in one thing is no trust in another.
func TestIDJAGOfAnIssuerForOtherThings(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) { c.Issuers[0].Grants = false })
	if _, _, err := w.grant(); err == nil {
		t.Error("of an issuer of access tokens")
	}
	if _, _, err := w.grant(object{"iss": cluster}); err == nil {
		t.Error("of an issuer of workloads")
	}
	if w.table.Grants() || !w.table.Workloads() {
		t.Error("what is offered")
	}
}
