package federation_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

const thumb = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

func (w *world) subject(changes ...object) (token.Foreign, error) {
	w.t.Helper()
	f, _, err := w.table.Subject(w.t.Context(), sign(ecKey, accessHeader, access.and(changes...)), agent, token.Confirmation{})
	return f, err
}

func TestAccessTokenThatIsNoSubject(t *testing.T) {
	w := newWorld(t)
	for name, attack := range map[string]object{
		"no jti":                         {"jti": nil},
		"long jti":                       {"jti": strings.Repeat("x", 257)},
		"no scope":                       {"scope": nil},
		"empty scope":                    {"scope": ""},
		"scope of others only":           {"scope": "openid profile"},
		"scope of our call tokens":       {"scope": "mcp:session"},
		"scope a list":                   {"scope": []string{"mcp:tools"}},
		"no client_id":                   {"client_id": nil},
		"azp another than client_id":     {"azp": "other"},
		"good for more than a day":       {"exp": now.Unix() + 24*60*60 + 1},
		"at the end of a longer life":    {"iat": now.Unix() - 3600, "exp": now.Unix() + 24*60*60 - 60},
		"restricted by details":          {"authorization_details": []object{{"type": "x"}}},
		"of a tenant":                    {"tenant": "acme"},
		"of a tenant without a name":     {"tenant": 7},
		"azp no text":                    {"azp": 7},
		"cnf that nobody proved":         {"cnf": object{"jkt": thumb}},
		"cnf of a kind unknown":          {"cnf": object{"kid": "k"}},
		"cnf empty":                      {"cnf": object{}},
		"cnf null":                       {"cnf": nullValue},
		"act with a member unknown":      {"act": object{"sub": "b", "role": "admin"}},
		"act that names nobody":          {"act": object{"iss": idp}},
		"act of nine":                    {"act": chainOf(9)},
		"act null":                       {"act": nullValue},
		"may_act with a chain":           {"may_act": object{"sub": "b", "act": object{"sub": "c"}}},
		"may_act with a member unknown":  {"may_act": object{"sub": "b", "email": "b@example"}},
		"may_act that names nobody":      {"may_act": object{"iss": idp}},
		"name too long":                  {"sub": strings.Repeat("a", 250)},
		"name with a space":              {"sub": "alice admin"},
		"name that turns the text round": {"sub": "alice\u202e"},
	} {
		if f, err := w.subject(attack); err == nil {
			t.Errorf("%s: taken: %+v", name, f)
		}
	}
}

// nullValue is a member that is there, and null.
var nullValue = (*int)(nil)

func chainOf(n int) object {
	o := object{"sub": "z"}
	for range n - 1 {
		o = object{"sub": "a", "act": o}
	}
	return o
}

func TestSubjectIsWhatTheTokenSays(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) {
		c.Issuers[0].GroupsClaim, c.Issuers[0].Claims = "realm.roles", []string{"department", "acr", "auth_time"}
	})
	raw := sign(ecKey, accessHeader, access.and(object{"scope": "openid mcp:tools tool:send_message", "cnf": object{"jkt": thumb}, "act": object{"sub": "bot", "act": object{"iss": ours, "client_id": "agent"}},
		"may_act": object{"iss": ours, "sub": "agent"}, "realm": object{"roles": []string{"staff"}}, "department": "sales", "acr": "mfa", "auth_time": now.Unix() - 100, "salary": 1}))
	f, resources, err := w.table.Subject(t.Context(), raw, agent, token.Confirmation{JKT: thumb})
	if err != nil {
		t.Fatal(err)
	}
	name := func(s string) identity.Subject { return must(identity.ParseSubject(s)) }
	want := token.Foreign{Issuer: idp, ID: "a1", Subject: name(idp + "|alice"), ClientID: identity.MustClientID(idp + "|app"),
		Scope: must(token.ParseScope("mcp:tools tool:send_message")), IssuedAt: now.Add(-60e9), Expiry: now.Add(600e9),
		Act:    &token.Actor{Issuer: idp, Subject: name(idp + "|bot"), Act: &token.Actor{Issuer: ours, ClientID: agent}},
		MayAct: &token.Party{Issuer: ours, Subject: name("agent")}, Confirmation: token.Confirmation{JKT: thumb},
		Groups: []string{"staff"}, Claims: map[string]any{"department": "sales"}, ACR: "mfa", AuthTime: now.Add(-100e9)}
	opts := cmp.Options{cmp.AllowUnexported(token.Scope{}, identity.Subject{}, identity.ClientID{}), cmpopts.EquateApproxTime(0)}
	if diff := cmp.Diff(want, f, opts); diff != "" {
		t.Error(diff)
	}
	if len(resources) != 1 || resources[0] != resource(mail) {
		t.Errorf("resources %v", resources)
	}
	if _, err := token.NewMinter(token.MinterConfig{Issuer: ours, Now: w.now}).Adopt(f); err != nil {
		t.Errorf("it cannot be adopted: %v", err)
	}
}

// TestForeignLoginCountsOnlyWhereConfigured: its groups, claims and acr are nothing here
// until somebody says so.
func TestForeignLoginCountsOnlyWhereConfigured(t *testing.T) {
	f, err := newWorld(t).subject(object{"groups": []string{"admins"}, "acr": "mfa", "auth_time": now.Unix(), "department": "sales"})
	if err != nil || f.Groups != nil || f.Claims != nil || f.ACR != "" || !f.AuthTime.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestSubjectTokenBoundToAKeyThatNobodyProved(t *testing.T) {
	w := newWorld(t)
	for _, cnf := range []object{{"jkt": thumb}, {"x5t#S256": thumb}, {"jkt": thumb, "x5t#S256": thumb}} {
		raw := sign(ecKey, accessHeader, access.and(object{"cnf": cnf}))
		for _, proof := range []token.Confirmation{{}, {JKT: strings.ToLower(thumb)}, {JKT: "x", X5T: thumb[1:]}} {
			if _, _, err := w.table.Subject(t.Context(), raw, agent, proof); !errors.Is(err, token.ErrUnproven) {
				t.Errorf("cnf %v, proof %v: %v", cnf, proof, err)
			}
		}
	}
}

func TestSubjectTokenOfAClientThatIsNotListed(t *testing.T) {
	w := newWorld(t)
	raw := doors[0].token()
	for _, id := range []string{"other", "Agent", "agent2", "report-agent"} {
		if _, _, err := w.table.Subject(t.Context(), raw, identity.MustClientID(id), token.Confirmation{}); err == nil {
			t.Errorf("%s exchanges", id)
		}
	}
	if _, _, err := w.table.Subject(t.Context(), raw, identity.ClientID{}, token.Confirmation{}); err == nil {
		t.Error("nobody exchanges")
	}
}

func TestSubjectTokenWithTheConfiguredAudience(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) { c.Issuers[0].SubjectTokens.Audience = "api://wicketgate" })
	for aud, want := range map[string]bool{"api://wicketgate": true, ours: false} {
		if _, err := w.subject(object{"aud": aud}); (err == nil) != want {
			t.Errorf("%s: %v", aud, err)
		}
	}
}

// TestTrustedIssuerCannotNameOurPeople, our clients, nor those of another issuer, by any
// claim; nor may people here have the names that it gives.
func TestTrustedIssuerCannotNameOurPeople(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) {
		c.Issuers[1].Prefix = "cluster|"
		c.Issuers[0].Prefix = "" // the issuer of login
	})
	f, err := w.subject()
	if err != nil || f.Subject.String() != "alice" {
		t.Errorf("the people of login: %v, %v", f.Subject, err)
	}
	for _, sub := range []string{"agent", "report-agent", "cluster|alice", cluster + "|alice", idp + "|alice", "spiffe://example.org|alice"} {
		if f, err := w.subject(object{"sub": sub}); err == nil {
			t.Errorf("%s is %s", sub, f.Subject)
		}
	}
	for name, want := range map[string]bool{"alice": false, idp + "|alice": true, "cluster|bob": true, cluster + "|bob": true, "clusterbob": false} {
		if w.table.Owns(name) != want {
			t.Errorf("Owns(%s) is %v", name, !want)
		}
	}
}

// TestForeignClientIsNoneOfOurs: a client there that is called as one here, and a
// workload there that acts for itself.
func TestForeignClientIsNoneOfOurs(t *testing.T) {
	for _, prefix := range []string{idp + "|", "", "corp|"} {
		w := newWorld(t, func(c *federation.Config) { c.Issuers[0].Prefix = prefix })
		f, err := w.subject(object{"client_id": "report-agent"})
		if err != nil || f.ClientID.String() != idp+"|report-agent" {
			t.Errorf("%v, %v", f.ClientID, err)
		}
		f, err = w.subject(object{"client_id": "report-agent", "sub": "report-agent"})
		if err != nil || !f.Subject.Is(f.ClientID) || f.Subject.String() != idp+"|report-agent" {
			t.Errorf("a workload there: %v, %v", f.Subject, err)
		}
		f, err = w.subject(object{"act": object{"sub": "report-agent", "client_id": "report-agent"}})
		if err != nil || f.Act.ClientID.String() != idp+"|report-agent" || f.Act.Chain()[0] != idp+"|report-agent" {
			t.Errorf("an actor there: %+v, %v", f.Act, err)
		}
	}
}

func TestClientThatCannotBeLookedForIsNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.storm = errors.New("the store is down")
	var refusal *oauth.Error
	if _, err := w.subject(); !errors.Is(err, w.storm) || errors.As(err, &refusal) {
		t.Error(err)
	}
	w.storm, w.ids[idp+"|alice"] = nil, true
	if _, err := w.subject(); err == nil {
		t.Error("a person with the name of a client")
	} else if !errors.As(err, &refusal) {
		t.Errorf("no refusal: %v", err)
	}
}

func TestSubjectByAnotherClaim(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) { c.Issuers[0].SubjectClaim = "email" })
	for name, tt := range map[string]struct {
		claims object
		want   string
	}{
		"verified":     {object{"email": "a@b.example", "email_verified": true}, idp + "|a@b.example"},
		"not verified": {object{"email": "a@b.example", "email_verified": false}, ""},
		"not said":     {object{"email": "a@b.example"}, ""},
		"as text":      {object{"email": "a@b.example", "email_verified": "true"}, ""},
		"none":         {object{"email_verified": true}, ""},
		"elsewhere":    {object{"email": "a@b.example", "email_verified": true, "_claim_names": object{"email": "src1"}}, ""},
	} {
		if f, _ := w.subject(tt.claims); f.Subject.String() != tt.want {
			t.Errorf("%s: %q", name, f.Subject)
		}
	}
}

// TestPersonInTooManyGroupsIsInNone must be seen, not guessed.
func TestPersonInTooManyGroupsIsInNone(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) { c.Issuers[0].GroupsClaim = "groups" })
	for name, c := range map[string]object{"by reference": {"_claim_names": object{"groups": "src1"}}, "no list": {"groups": "admins"}, "of numbers": {"groups": []int{1}},
		"with null": {"groups": []any{"a", nil}}, "too many": {"groups": strings.Fields(strings.Repeat("g ", 201))}} {
		if _, err := w.subject(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestClaimThatNoTokenCanSay(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) { c.Issuers[0].Claims = []string{"x"} })
	for name, x := range map[string]any{"a list with null": []any{nil}, "a list of numbers": []int{1}, "an object": object{"y": 1}, "a number too large": int64(1)<<53 + 1, "too long": strings.Repeat("x", 5000)} {
		if f, err := w.subject(object{"x": x}); err == nil {
			t.Errorf("%s: %v", name, f.Claims)
		}
	}
}

func TestTenantIsTheConfiguredOne(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) { c.Issuers[0].Tenant = "acme" })
	for tenant, want := range map[any]bool{"acme": true, "evil": false, nil: false, 7: false} {
		if _, err := w.subject(object{"tenant": tenant}); (err == nil) != want {
			t.Errorf("%v: %v", tenant, err)
		}
	}
}

func TestIssuerForOtherThingsHasNoSubjectTokens(t *testing.T) {
	w := newWorld(t)
	raw := sign(ecKey, accessHeader, access.and(object{"iss": cluster}))
	if w.table.Trusts(raw) || asSubject(w, raw) == nil {
		t.Error("an access token of an issuer of workloads")
	}
}
