package exchange_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	alicesKey  = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	thiefsKey  = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	alicesCert = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"
)

// TestStrangersTokenIsNotExchanged: a client exchanges what was issued to it, or to
// one that it is configured to act for, and nothing that it merely found.
func TestStrangersTokenIsNotExchanged(t *testing.T) {
	w := newWorld(t, agents)
	for _, tt := range []struct {
		name, client, issuedTo string
		may                    bool
	}{
		{"its own", "agent", "agent", true},
		{"of a client that it acts for", "agent", "editor", true},
		{"of another client", "agent", "chat", false},
		{"of the client that acts for it", "editor", "agent", false},
		{"by one that acts for everybody", "sub-agent", "chat", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := delegation(tt.client, forge(t, claims{"client_id": tt.issuedTo}))
			if tt.may {
				w.delegated(t, r)
				return
			}
			w.refuseAs(t, r, oauth.InvalidRequest)
		})
	}
}

// TestMayActIsEnforcedOnEveryPath: with an actor_token and without one, for the
// client's own token too, for both products (keycloak: only where an actor_token came).
func TestMayActIsEnforcedOnEveryPath(t *testing.T) {
	w := newWorld(t, agents)
	own := func(client string) string {
		return forge(t, claims{"sub": client, "client_id": client, "jti": "actor"})
	}
	mayAct := func(p claims) string { return forge(t, claims{"client_id": "agent", "may_act": p}) }
	tests := []struct {
		name   string
		client string
		raw    string
		actor  string
		may    bool
	}{
		{"the one it names", "agent", mayAct(claims{"client_id": "agent"}), "", true},
		{"the one it names by every member", "agent", mayAct(claims{"iss": issuer, "sub": "agent", "client_id": "agent"}), "", true},
		{"the one it names, with an actor_token", "agent", mayAct(claims{"sub": "agent"}), own("agent"), true},
		{"one whom no configuration lets, but may_act does", "robot", forge(t, claims{"may_act": claims{"client_id": "robot"}}), "", true},
		{"another, although it is its own token", "agent", mayAct(claims{"client_id": "robot"}), "", false},
		{"another, with an actor_token", "agent", mayAct(claims{"client_id": "robot"}), own("agent"), false},
		{"another, who acts for everybody", "sub-agent", mayAct(claims{"client_id": "robot"}), "", false},
		{"one of another issuer", "agent", mayAct(claims{"iss": "https://other.example", "client_id": "agent"}), "", false},
		{"one with another subject", "agent", mayAct(claims{"sub": "bob", "client_id": "agent"}), "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, tool := range []bool{false, true} {
				r := delegation(tt.client, tt.raw)
				if tt.actor != "" {
					r.Form.Set("actor_token", tt.actor)
					r.Form.Set("actor_token_type", oauth.TokenTypeAccessToken)
				}
				if tool {
					r.Form.Set("scope", "tool:read_message")
					r.Form.Set("authorization_details", details)
				}
				if !tt.may {
					w.refuseAs(t, r, oauth.InvalidRequest)
					continue
				}
				if _, got := w.delegated(t, r); got["may_act"] == nil {
					t.Error("may_act was dropped")
				}
			}
		})
	}
}

// TestActorTokenIsBoundToItsClient: nobody acts in the name of somebody else.
func TestActorTokenIsBoundToItsClient(t *testing.T) {
	w := newWorld(t, agents)
	subject := forge(t, nil)
	bobMay := forge(t, claims{"may_act": claims{"sub": "bob", "client_id": "agent"}})
	soon := now.Add(30 * time.Second).Unix()
	tests := []struct {
		name, subject, actor string
		want                 any // the newest actor; nil: refused
	}{
		{"its own", subject, forge(t, claims{"sub": "agent", "client_id": "agent"}), "agent"},
		{"of another client", subject, forge(t, claims{"sub": "robot", "client_id": "robot"}), nil},
		{"of another client's user", subject, forge(t, claims{"sub": "bob", "client_id": "editor"}), nil},
		{"of a person whom nothing lets act for alice", subject, forge(t, claims{"sub": "bob", "client_id": "agent"}), nil},
		{"of a person whom may_act names", bobMay, forge(t, claims{"sub": "bob", "client_id": "agent"}), "bob"},
		{"of a person whom may_act does not name", bobMay, forge(t, claims{"sub": "carol", "client_id": "agent"}), nil},
		{"that has an actor itself", subject, forge(t, claims{"sub": "agent", "client_id": "agent", "act": actor("robot")}), nil},
		{"expired", subject, forge(t, claims{"sub": "agent", "client_id": "agent", "exp": now.Unix()}), nil},
		{"of another issuer", subject, forge(t, claims{"iss": "https://other.example", "sub": "agent", "client_id": "agent"}), nil},
		{"a tool token", subject, forge(t, claims{"sub": "agent", "client_id": "agent", "scope": "tool:x", "exp": now.Add(time.Minute).Unix(), "ancestors": []string{"a"},
			"authorization_details": []claims{{"type": "mcp_tool_call", "server": "mail", "tool": "x", "arguments_digest": "d"}}}), nil},
		{"bound to a key that was not proved", subject, forge(t, claims{"sub": "agent", "client_id": "agent", "cnf": claims{"jkt": alicesKey}}), nil},
		{"garbage", subject, "garbage", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := delegation("agent", tt.subject, "actor_token", tt.actor, "actor_token_type", oauth.TokenTypeAccessToken)
			if tt.want == nil {
				w.refuseAs(t, r, oauth.InvalidRequest)
				return
			}
			_, got := w.delegated(t, r)
			if act := got["act"].(map[string]any); act["sub"] != tt.want || act["client_id"] != "agent" {
				t.Errorf("act %v", act)
			}
		})
	}
	_, got := w.delegated(t, delegation("agent", subject, "actor_token", forge(t, claims{"sub": "agent", "client_id": "agent", "exp": soon}), "actor_token_type", oauth.TokenTypeAccessToken))
	if int64(got["exp"].(float64)) != soon {
		t.Errorf("the token outlives its actor_token: %v, want %d", got["exp"], soon)
	}
}

// TestBindingIsNeverDropped: who has stolen a bound token cannot exchange it for an
// unbound one, nor for one that is bound to the thief's key.
func TestBindingIsNeverDropped(t *testing.T) {
	w := newWorld(t, agents)
	tests := []struct {
		name        string
		cnf         claims
		proof, bind oauth.Proof
		want        any // cnf of the child; false: refused
	}{
		{"bearer stays bearer", nil, oauth.Proof{}, oauth.Proof{}, nil},
		{"a proof that is not to bind", nil, oauth.Proof{X5T: alicesCert}, oauth.Proof{}, nil},
		{"bearer becomes bound", nil, oauth.Proof{JKT: alicesKey}, oauth.Proof{JKT: alicesKey}, map[string]any{"jkt": alicesKey}},
		{"bound stays bound", claims{"jkt": alicesKey}, oauth.Proof{JKT: alicesKey}, oauth.Proof{JKT: alicesKey}, map[string]any{"jkt": alicesKey}},
		{"bound stays bound to a certificate", claims{"x5t#S256": alicesCert}, oauth.Proof{X5T: alicesCert}, oauth.Proof{}, map[string]any{"x5t#S256": alicesCert}},
		{"bound becomes bound twice", claims{"x5t#S256": alicesCert}, oauth.Proof{JKT: alicesKey, X5T: alicesCert}, oauth.Proof{JKT: alicesKey},
			map[string]any{"x5t#S256": alicesCert, "jkt": alicesKey}},
		{"stolen, without proof", claims{"jkt": alicesKey}, oauth.Proof{}, oauth.Proof{}, false},
		{"stolen, with the thief's proof", claims{"jkt": alicesKey}, oauth.Proof{JKT: thiefsKey}, oauth.Proof{JKT: thiefsKey}, false},
		{"stolen, with the thief's certificate", claims{"x5t#S256": alicesCert}, oauth.Proof{X5T: thiefsKey}, oauth.Proof{X5T: thiefsKey}, false},
		{"half of the proof", claims{"jkt": alicesKey, "x5t#S256": alicesCert}, oauth.Proof{JKT: alicesKey}, oauth.Proof{JKT: alicesKey}, false},
		{"bound to a key that was not proved", nil, oauth.Proof{}, oauth.Proof{JKT: thiefsKey}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var cnf any
			if tt.cnf != nil {
				cnf = tt.cnf
			}
			raw := forge(t, claims{"cnf": cnf})
			for _, tool := range []bool{false, true} {
				r := delegation("agent", raw)
				r.Proof, r.Bind = tt.proof, tt.bind
				if tool {
					r.Form.Set("scope", "tool:read_message")
					r.Form.Set("authorization_details", details)
				}
				if tt.want == false {
					w.refuseAs(t, r, oauth.InvalidRequest)
					continue
				}
				resp, err := w.Issue(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				got := claimsOf(t, resp.AccessToken)["cnf"]
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("cnf %s", diff)
				}
				if m, ok := got.(map[string]any); (resp.TokenType == "DPoP") != (ok && m["jkt"] != nil) {
					t.Errorf("token_type %s of cnf %v", resp.TokenType, got)
				}
			}
		})
	}
}

// TestTokenLeadsDownstreamWhereConfigured, and nowhere else.
func TestTokenLeadsDownstreamWhereConfigured(t *testing.T) {
	w := newWorld(t, agents, func(c *exchange.Config) {
		c.Downstream = map[oauth.Resource][]oauth.Resource{resource(t, mail): {resource(t, files)}}
	})
	raw := forge(t, nil)
	for _, params := range [][]string{{"resource", files}, {"resource", files + "/"}, {"resource", files, "audience", "files"}, {"resource", files, "audience", files}} {
		if _, got := w.delegated(t, delegation("agent", raw, params...)); got["aud"] != files {
			t.Errorf("%v: aud %v", params, got["aud"])
		}
	}
	byName := delegation("agent", raw, "audience", "files")
	byName.Form.Del("resource")
	inFiles, got := w.delegated(t, byName)
	if got["aud"] != files {
		t.Errorf("aud %v", got["aud"])
	}
	w.refuseAs(t, delegation("agent", inFiles), oauth.InvalidTarget) // the edge leads one way
	w.refuseAs(t, delegation("agent", raw, "resource", upstream), oauth.InvalidTarget)
}

// TestCallTokensAreNoSubjects: neither kind, whoever brings it.
func TestCallTokensAreNoSubjects(t *testing.T) {
	w := newWorld(t, agents)
	r := delegation("agent", forge(t, nil), "scope", "tool:read_message", "authorization_details", details)
	tool, _ := w.delegated(t, r)
	for _, client := range []string{"agent", "sub-agent"} {
		w.refuseAs(t, delegation(client, tool), oauth.InvalidRequest)
		w.refuseAs(t, delegation(client, tool, "scope", "tool:read_message", "authorization_details", details), oauth.InvalidRequest)
	}
}

// TestWorkloadIsNoPersonOfItsName: what comes of the token of the workload alice is
// decided as the workload's, also when another client acts for it.
func TestWorkloadIsNoPersonOfItsName(t *testing.T) {
	w := newWorld(t, agents)
	raw := forge(t, claims{"sub": "alice", "client_id": "alice"})
	w.refuseAs(t, delegation("sub-agent", raw, "scope", "tool:read_message"), oauth.InvalidScope)
	for _, q := range w.pdp.requests {
		if !q.Workload {
			t.Errorf("the PDP was asked about a person: %+v", q)
		}
	}
	for range 2 { // and the second hop
		raw, _ = w.delegated(t, delegation("sub-agent", raw))
		w.refuseAs(t, delegation("sub-agent", raw, "scope", "tool:read_message"), oauth.InvalidScope)
	}
}

// revoked is a token.Revocations with one answer.
type revoked struct{ err error }

func (r revoked) Check(token.Verified) error { return r.err }

func TestRevokedTokenIsNotExchanged(t *testing.T) {
	for err, code := range map[error]oauth.ErrorCode{token.ErrRevoked: oauth.InvalidRequest, token.ErrStale: oauth.TemporarilyUnavailable} {
		w := newWorld(t, agents, func(c *exchange.Config) {
			c.Verifier = token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: signer{key}, Now: c.Now, Revocations: revoked{err}})
		})
		w.refuseAs(t, delegation("agent", forge(t, nil)), code)
	}
}

// partner is an exchange.Foreign that trusts what begins so.
type partner struct {
	says  token.Foreign
	leads []oauth.Resource
	err   error
}

func (p partner) Trusts(raw string) bool { return strings.HasPrefix(raw, "partner:") }

func (p partner) Subject(context.Context, string, identity.ClientID, token.Confirmation) (token.Foreign, []oauth.Resource, error) {
	return p.says, p.leads, p.err
}

func TestTokenOfAnotherIssuerBecomesOurs(t *testing.T) {
	alice, _ := identity.ParseSubject("https://partner.example|alice")
	p := partner{leads: []oauth.Resource{resource(t, mail)}, says: token.Foreign{Issuer: "https://partner.example", ID: "foreign-1", Subject: alice,
		ClientID: identity.MustClientID("their-app"), Scope: scope(t, "mcp:tools"), IssuedAt: now, Expiry: now.Add(90 * time.Second)}}
	w := newWorld(t, func(c *exchange.Config) { c.Foreign = p })
	_, got := w.delegated(t, delegation("agent", "partner:x"))
	theirs := map[string]any{"iss": "https://partner.example", "sub": "their-app", "client_id": "their-app"}
	want := map[string]any{"iss": issuer, "sub": alice.String(), "aud": mail, "client_id": "agent", "scope": "mcp:tools", "jti": got["jti"], "txn": got["txn"],
		"iat": float64(now.Unix()), "exp": float64(now.Add(90 * time.Second).Unix()), "act": actor("agent", theirs), "ancestors": []any{"foreign-1"}}
	if diff := cmp.Diff(want, got); diff != "" || got["txn"] == nil {
		t.Errorf("claims (-want +got)\n%s", diff)
	}
	w.refuseAs(t, delegation("agent", "partner:x", "resource", files), oauth.InvalidTarget)
	for err, code := range map[error]oauth.ErrorCode{token.ErrSignature: oauth.InvalidRequest, token.ErrUnproven: oauth.InvalidRequest} {
		bad := p
		bad.err = err
		w := newWorld(t, func(c *exchange.Config) { c.Foreign = bad })
		w.refuseAs(t, delegation("agent", "partner:x"), code)
	}
	frozen := newWorld(t, func(c *exchange.Config) {
		c.Foreign = p
		c.Verifier = token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: signer{key}, Now: c.Now, Revocations: revoked{token.ErrRevoked}})
	})
	frozen.refuseAs(t, delegation("agent", "partner:x"), oauth.InvalidRequest)
	if len(frozen.audit.events) != 0 {
		t.Errorf("recorded %+v", frozen.audit.events)
	}
	w = newWorld(t, func(c *exchange.Config) { c.Foreign = partner{err: errors.New("down")} })
	if _, err := w.Issue(t.Context(), delegation("agent", "partner:x")); err == nil || strings.Contains(err.Error(), "invalid_request") {
		t.Errorf("keys that cannot be had: %v, want no refusal of the token", err)
	}
}
