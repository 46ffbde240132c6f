package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/spiretest"
)

const withAgents = `spiffe:
  workload_api: SOCKET
  trust_domains: [{name: example.org}]
clients:
  - id: "spiffe://example.org/agent/*"
    auth_method: spiffe
    grant_types: [client_credentials, "urn:ietf:params:oauth:grant-type:token-exchange"]
    acts_for: ["*"]
`

func (s *spire) config(text string) string { return strings.ReplaceAll(text, "SOCKET", s.agent.Socket) }

// bySVID is how wicketgate call is told to use the one SVID or the other. What a JWT-SVID
// is sent to is http here, where nobody could prove anything.
var bySVID = map[string][]string{"X.509-SVID": {"--svid", "x509", "--server-spiffe-id", gateID}, "JWT-SVID": {"--svid", "jwt"}}

// TestTwoWorkloadsGetDifferentTools: with nothing but the agent's socket, by the one SVID
// and by the other; a process that is no workload gets none.
func TestTwoWorkloadsGetDifferentTools(t *testing.T) {
	t.Parallel()
	s := newSPIRE(t, spiretest.Config{})
	s.register(t, gate(0), spiretest.Entry{ID: mailID},
		spiretest.Entry{ID: senderID, Selectors: []string{spiretest.User(mailAgent)}},
		spiretest.Entry{ID: readerID, Selectors: []string{spiretest.User(reportUser)}})
	h := startSPIFFE(t, s, sourceOf(t, s, mailID), s.config(withAgents), nil)
	send := []string{"mail", "send_message", "--spiffe", "--arg", "to=bob@example.com", "--arg", "subject=hello", "--arg", "body=there"}
	for svid, by := range bySVID {
		for _, uid := range []int{mailAgent, reportUser} {
			if code, out, errs := h.callAs(t, uid, "", append([]string{"mail", "list_messages", "--spiffe", "--arg", "limit=3"}, by...)...); code != 0 || !strings.Contains(out, "subject") {
				t.Errorf("user %d lists by %s: %d %s %s", uid, svid, code, out, errs)
			}
		}
		if code, out, errs := h.callAs(t, mailAgent, "", append(send, by...)...); code != 0 || out == "" {
			t.Errorf("who may send, by %s: %d %s %s", svid, code, out, errs)
		}
		if code, out, errs := h.callAs(t, reportUser, "", append(send, by...)...); code == 0 || !strings.Contains(errs, `it has no tool "send_message"`) {
			t.Errorf("who may not send, by %s: %d %s %s", svid, code, out, errs)
		}
		if code, out, errs := h.callAs(t, strayUser, "", append([]string{"mail", "list_messages", "--spiffe", "--timeout", "3s"}, by...)...); code == 0 || !strings.Contains(errs, "registration entry") {
			t.Errorf("who is no workload, by %s: %d %s %s", svid, code, out, errs)
		}
	}
	for uid, id := range map[int]string{mailAgent: senderID, reportUser: readerID} {
		for _, l := range about(h.audit(t), id, "list_messages") {
			if l.Client != id || len(l.Actors) > 0 || l.Decision != "" && l.Decision != "allow" {
				t.Errorf("user %d in the audit log: %+v", uid, l)
			}
		}
		if n := len(about(h.audit(t), id, "list_messages")); n != 4 {
			t.Errorf("user %d has %d lines in the audit log, want an intent and an outcome for each of two calls", uid, n)
		}
	}
	checkSaysNothing(t, h.house)
}

// TestWorkloadActsForAPerson: alice's access token as subject, the workload as actor, and
// both are in what the mail server gets and in the audit log.
func TestWorkloadActsForAPerson(t *testing.T) {
	t.Parallel()
	s := newSPIRE(t, spiretest.Config{})
	s.register(t, gate(0), spiretest.Entry{ID: mailID}, spiretest.Entry{ID: senderID, Selectors: []string{spiretest.User(mailAgent)}})
	callbackAt := freeport.Address(t)
	idp := startIDP(t, "http://"+callbackAt+"/oauth2/callback")
	h := startSPIFFEAt(t, s, spiffeSetup{listen: callbackAt, source: sourceOf(t, s, mailID),
		config: s.config(withAgents) + `login: {issuer: "` + idp + `", client_id: wicketgate, client_secret_file: idp.secret, scopes: [openid]}
`, files: map[string]string{"idp.secret": idpSecret, "access.yaml": readers("{users: [alice]}")}})
	c := newRawClient(t, h.house)
	r, p := newRobot("alice", "approve"), newPKCE()
	r.idp = idp
	alice := c.redeem(t, c.code(t, r, p), p)
	for svid, by := range bySVID {
		args := append([]string{"mail", "list_messages", "--spiffe"}, by...)
		code, out, errs := h.callAs(t, mailAgent, alice.AccessToken, append(args, "--subject-token-file", "-", "-v")...)
		if code != 0 || !strings.Contains(out, "subject") {
			t.Fatalf("for alice, by %s: %d %s %s", svid, code, out, errs)
		}
		if code, out, errs := h.callAs(t, mailAgent, "", args...); code == 0 {
			t.Errorf("for itself, by %s: %s %s", svid, out, errs)
		}
	}
	lines := about(h.audit(t), "alice", "list_messages")
	if len(lines) != 4 {
		t.Errorf("%d lines, want four: %+v", len(lines), lines)
	}
	for _, l := range lines {
		if l.Kind == "intent" && (l.Client != senderID || !cmp.Equal(l.Actors, []string{senderID, c.id})) {
			t.Errorf("client %s, actors %v, want %s and the application %s behind it", l.Client, l.Actors, senderID, c.id)
		}
	}
	checkSaysNothing(t, h.house)
}

// TestRevokedEntryStopsWithinItsTTL: whatever the workload fetched last, nothing of it
// works once that has ended.
func TestRevokedEntryStopsWithinItsTTL(t *testing.T) {
	t.Parallel()
	s := newSPIRE(t, spiretest.Config{})
	ids := s.register(t, gate(0), spiretest.Entry{ID: agentID, X509TTL: 8 * time.Second, JWTTTL: 8 * time.Second})
	h := startSPIFFE(t, s, nil, s.config(withAgents), nil)
	source := sourceOf(t, s, agentID)
	svid, err := source.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := s.jwtSVID(t, agentID, h.url)
	if err != nil {
		t.Fatal(err)
	}
	s.DeleteEntry(t, ids[1])
	s.agent.WaitForSVIDs(t, 0)
	if _, err := s.jwtSVID(t, agentID, h.url); err == nil {
		t.Error("the agent gives another JWT-SVID")
	}
	newest, err := source.GetX509SVID() // perhaps one more since
	if err != nil {
		t.Fatal(err)
	}
	last := newest.Certificates[0].NotAfter
	if svid.Certificates[0].NotAfter.After(last) {
		last = svid.Certificates[0].NotAfter
	}
	if jwt.Expiry.After(last) {
		last = jwt.Expiry
	}
	cert := pair(newest)
	var sessions []*session
	for by, a := range map[string]tokenAnswer{"X.509-SVID": h.byX509(t, cert, agentID), "JWT-SVID": h.byJWT(t, jwt.Marshal())} {
		if a.AccessToken == "" {
			t.Fatalf("while the %s is good: %+v", by, a)
		}
		if exp := int64(claims(t, a.AccessToken)["exp"].(float64)); exp > last.Unix() {
			t.Errorf("the access token by %s ends %d s after every SVID", by, exp-last.Unix())
		}
		sessions = append(sessions, open(t, h.house, a.AccessToken))
	}
	for _, session := range sessions {
		var worked time.Time
		eventually(t, "the end of the access token", func() bool {
			resp, _ := session.call(t, "list_messages", `{}`)
			if resp.StatusCode == 200 {
				worked = time.Now()
			}
			return resp.StatusCode == 401
		})
		if worked.After(last.Add(time.Second)) {
			t.Errorf("a call worked %s after the last SVID ended", worked.Sub(last))
		}
	}
	eventually(t, "the end of the SVIDs", func() bool { return !time.Now().Before(last) })
	for by, a := range map[string]tokenAnswer{"X.509-SVID": h.byX509(t, cert, agentID), "JWT-SVID": h.byJWT(t, jwt.Marshal())} {
		if a.Status != 401 || a.Error != "invalid_client" {
			t.Errorf("by an expired %s: %+v", by, a)
		}
	}
}

func claims(t *testing.T, raw string) (out map[string]any) {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil || json.Unmarshal(payload, &out) != nil {
		t.Fatalf("claims: %v", err)
	}
	return out
}
