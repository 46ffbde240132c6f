package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/console"
	"github.com/wicketgate/wicketgate/policies"
)

func (p page) wantSays(t testing.TB, status int, words ...string) {
	t.Helper()
	if p.status != status {
		t.Errorf("status %d, want %d: %s", p.status, status, p.text())
	}
	for _, want := range words {
		if !strings.Contains(p.text(), want) {
			t.Errorf("the page does not say %q: %s", want, p.text())
		}
	}
}

func TestApproverDecidesOnThePage(t *testing.T) {
	for decision, want := range map[string]approval.State{"approve": approval.Approved, "deny": approval.Denied} {
		t.Run(decision, func(t *testing.T) {
			w := newWorld(t)
			r := w.waiting()
			b := w.browser()
			p := b.as("bob", "/console/approvals/"+r.ID)
			p.wantSays(t, 200, "Approve this call?", "On behalf of alice", "Through notebook and then agent", "Tool send_message on server mail", "Risk high", "eve@example.com",
				"Who may approve approver", "Asked for by roles.writer.servers.mail.tools.send_message", "15 minutes left", "Signed in as bob")
			if strings.Contains(p.text(), "access.yaml") {
				t.Errorf("the page names a file: %s", p.text())
			}
			p = b.decide(p, r.ID, decision)
			p.wantSays(t, 200, "This call was "+string(want), "Decided by bob", "looked at it")
			if p.at.Path != "/console/approvals/"+r.ID || strings.Contains(p.body, `name="decision"`) {
				t.Errorf("at %s, with a form %t", p.at, strings.Contains(p.body, `name="decision"`))
			}
			w.wantState(r.ID, want)
			b.get("/console/approvals/").wantSays(t, 200, "No call waits", "Recent", "send_message on mail")
		})
	}
}

func TestListShowsWhatSomebodyMaySee(t *testing.T) {
	w := newWorld(t)
	w.waiting()
	for user, want := range map[string]string{"bob": "send_message on mail pending for alice · risk high · 15 minutes left", "alice": "your own call", "carol": "No call waits that you may see"} {
		p := w.browser().as(user, "/console/")
		p.wantSays(t, 200, want, "Signed in as "+user)
		if !strings.Contains(p.body, `http-equiv="refresh"`) {
			t.Errorf("%s: the list does not look again", user)
		}
		if user == "carol" && strings.Contains(p.text(), "send_message") {
			t.Errorf("carol sees it: %s", p.text())
		}
	}
}

// TestOwnCallApprovedByItsSubjectIsRefused: alice has the role, and it is her call.
func TestOwnCallApprovedByItsSubjectIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	p := b.as("alice", "/console/approvals/"+r.ID)
	p.wantSays(t, 200, "This is your own call: somebody else has to decide", "State pending")
	if strings.Contains(p.body, `name="decision"`) {
		t.Error("there is a form to decide")
	}
	other := w.waiting(func(r *approval.Request) { r.Subject = subject(t, "dave") }) // whose form she may have
	form := url.Values{"decision": {"approve"}, "ticket": {b.get("/console/approvals/"+other.ID).field(t, "ticket")}}
	if p := b.post("/console/approvals/"+r.ID, form); p.status != http.StatusBadRequest {
		t.Errorf("with the ticket of another form: %d %s", p.status, p.text())
	}
	raw := w.accessToken("alice")
	if a := w.decideBy(raw, r.ID, "approve"); a.status != http.StatusForbidden || a.Error != "access_denied" {
		t.Errorf("by the API: %d %s", a.status, a.body)
	}
	w.wantState(r.ID, approval.Pending)
	if got := w.audit.denials(); len(got) != 1 || got[0] != "alice own_call" {
		t.Errorf("audited %q", got)
	}
}

// TestRequesterSeesTheStateAlone: who decided, and what they said among themselves, is not
// for whose call it was.
func TestRequesterSeesTheStateAlone(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	bob := w.browser()
	bob.decide(bob.as("bob", "/console/approvals/"+r.ID), r.ID, "deny")
	p := w.browser().as("alice", "/console/approvals/"+r.ID)
	p.wantSays(t, 200, "This call was denied")
	a := w.api("GET", "/"+r.ID, w.accessToken("alice"), "")
	for _, text := range []string{p.text(), a.body} {
		if strings.Contains(text, "bob") || strings.Contains(text, "looked at it") {
			t.Errorf("the requester is told: %s", text)
		}
	}
}

// TestStrangerIsToldNothing: somebody without the role, and an id that is not there, look
// alike, whatever the method.
func TestStrangerIsToldNothing(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	b.as("carol", "/console/approvals/")
	unknown := "/console/approvals/" + strings.Repeat("A", len(r.ID))
	for _, path := range []string{"", "/stepup"} {
		there, not := b.get("/console/approvals/"+r.ID+path), b.get(unknown+path)
		if there.status != http.StatusNotFound || withoutIDs(there) != withoutIDs(not) {
			t.Errorf("%q: %d %s, and for one that is not there %d %s", path, there.status, there.text(), not.status, not.text())
		}
	}
	raw := w.accessToken("carol")
	for _, send := range []func(id string) answer{
		func(id string) answer { return w.api("GET", "/"+id, raw, "") },
		func(id string) answer { return w.decideBy(raw, id, "approve") },
	} {
		there, not := send(r.ID), send(strings.Repeat("A", len(r.ID)))
		if there.status != http.StatusNotFound || there.body != not.body {
			t.Errorf("%d %s, and for one that is not there %d %s", there.status, there.body, not.status, not.body)
		}
	}
	w.wantState(r.ID, approval.Pending)
	if got := w.audit.denials(); len(got) != 1 || got[0] != "carol no_role" {
		t.Errorf("audited %q", got)
	}
}

// withoutIDs is the page without what differs from request to request.
func withoutIDs(p page) string {
	text, _, _ := strings.Cut(p.text(), "request ")
	return text
}

// TestOldLoginDecidesAfterStepUp: the policy asks for a recent login, and the page leads to one.
func TestOldLoginDecidesAfterStepUp(t *testing.T) {
	w := newWorld(t)
	w.pdp.ask(t, ", max_age: 3m")
	r := w.waiting()
	b := w.browser()
	p := b.as("bob", "/console/approvals/"+r.ID)
	old := p.field(t, "ticket")
	w.clock.advance(3*time.Minute + time.Second)
	p = b.get("/console/approvals/" + r.ID)
	p.wantSays(t, 200, "it asks for a login of the last 3 minutes", "Log in again")
	if strings.Contains(p.body, `name="decision"`) {
		t.Error("there is a form to decide")
	}
	late := b.post("/console/approvals/"+r.ID, url.Values{"ticket": {old}, "decision": {"approve"}})
	late.wantSays(t, http.StatusForbidden, "Your login has become too old", "nothing was decided")
	w.wantState(r.ID, approval.Pending)

	p = b.logIn(b.get("/console/approvals/"+r.ID+"/stepup"), "bob")
	p.wantSays(t, 200, "Approve this call?")
	b.decide(p, r.ID, "approve").wantSays(t, 200, "This call was approved")
}

// TestDecisionByAnotherPolicyThanAskedIsRefused: whom a policy lets approve for a while must
// not decide for the one before, which may come back and find the approval there.
func TestDecisionByAnotherPolicyThanAskedIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	p := b.as("bob", "/console/approvals/"+r.ID)
	w.pdp.ask(t, ", max_age: 3m")
	b.post("/console/approvals/"+r.ID, url.Values{"ticket": {p.field(t, "ticket")}, "decision": {"approve"}}).wantSays(t, http.StatusConflict, "The policy has changed", "have the call sent again")
	w.wantState(r.ID, approval.Pending)
	if got := w.audit.denials(); !slices.Equal(got, []string{"bob policy_changed"}) {
		t.Errorf("audit %q", got)
	}
	if p = b.get("/console/approvals/" + r.ID); strings.Contains(p.body, `name="decision"`) {
		t.Error("there is a form to decide")
	}
	p.wantSays(t, 200, "The policy has changed")
	w.pdp.ask(t, "")
	b.decide(b.get("/console/approvals/"+r.ID), r.ID, "approve").wantSays(t, 200, "This call was approved")
}

// TestStepUpThatCannotBeHadIsSaid: no login here is of the kind that is asked for.
func TestStepUpThatCannotBeHadIsSaid(t *testing.T) {
	w := newWorld(t)
	w.pdp.ask(t, ", acr: ['urn:example:mfa']")
	r := w.waiting()
	b := w.browser()
	b.as("bob", "/console/approvals/"+r.ID).wantSays(t, 200, "it asks for a login of a stronger kind")
	p := b.logIn(b.get("/console/approvals/"+r.ID+"/stepup"), "bob")
	p.wantSays(t, http.StatusBadRequest, "not of the kind, or not as recent")
}

// TestSecondDecisionChangesNothing, by whoever was too late.
func TestSecondDecisionChangesNothing(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	bob, dave := w.browser(), w.browser()
	atBob, atDave := bob.as("bob", "/console/approvals/"+r.ID), dave.as("dave", "/console/approvals/"+r.ID)
	bob.decide(atBob, r.ID, "deny")
	dave.decide(atDave, r.ID, "approve").wantSays(t, http.StatusConflict, "It was decided already, or has expired")
	w.wantState(r.ID, approval.Denied)
}

// TestPolicyThatGivesNoAnswerShowsNothing: fail closed, and say so.
func TestPolicyThatGivesNoAnswerShowsNothing(t *testing.T) {
	for _, reason := range []policies.Reason{policies.ReasonTimeout, policies.ReasonEvaluationError, policies.ReasonUndefined, policies.ReasonMalformed, policies.ReasonPanic, policies.ReasonCanceled,
		policies.ReasonOPAUnreachable, policies.ReasonOPAStatus, policies.ReasonOPARedirect} {
		w := newWorld(t)
		r := w.waiting()
		b := w.browser()
		p := b.as("bob", "/console/approvals/"+r.ID)
		w.pdp.fail(reason)
		for _, p := range []page{b.get("/console/approvals/" + r.ID), b.get("/console/approvals/"), b.decide(p, r.ID, "approve")} {
			p.wantSays(t, http.StatusServiceUnavailable, "is not known here at the moment")
			if strings.Contains(p.text(), "alice") {
				t.Errorf("%s: the page tells %s", reason, p.text())
			}
		}
		w.wantState(r.ID, approval.Pending)
	}
}

// TestDecisionThatIsNotRecordedIsNotTaken: audit first.
func TestDecisionThatIsNotRecordedIsNotTaken(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	p := b.as("bob", "/console/approvals/"+r.ID)
	w.audit.mu.Lock()
	w.audit.broken = true
	w.audit.mu.Unlock()
	p = b.decide(p, r.ID, "approve")
	p.wantSays(t, http.StatusInternalServerError, "Something went wrong on our side")
	if strings.Contains(p.text(), "disk") {
		t.Errorf("the page tells the cause: %s", p.text())
	}
	w.wantState(r.ID, approval.Pending)
}

// TestArgumentsCannotChangeWhatThePageShows: markup is text, and what is invisible, or turns
// around what is beside it, is seen.
func TestArgumentsCannotChangeWhatThePageShows(t *testing.T) {
	w := newWorld(t)
	r := w.waiting(func(r *approval.Request) {
		r.Arguments = jsontext.Value("{\"a\":\"</pre><script>alert(1)</script><form action=/evil>\",\"b\":\"safe\u202Eexe.txt\u200B\",\"c\":\"\\u202e\"}")
	})
	p := w.browser().as("bob", "/console/approvals/"+r.ID)
	if strings.Contains(p.body, "<script") || strings.Contains(p.body, "<form action=/evil") || strings.ContainsAny(p.body, "\u202E\u200B") {
		t.Errorf("the page has what the arguments say: %s", p.body)
	}
	p.wantSays(t, 200, `safe\u{202e}exe.txt\u{200b}`, "&lt;/pre&gt;&lt;script&gt;")
	if n := strings.Count(p.text(), "202e"); n != 2 {
		t.Errorf("an escape of JSON is not seen: %s", p.text())
	}
}

// TestCallsThatDifferWhereTheyAreMaskedLookDifferent: or who has denied one could be shown
// another as if it were the same, and the other way round.
func TestCallsThatDifferWhereTheyAreMaskedLookDifferent(t *testing.T) {
	w := newWorld(t)
	one, other := w.waiting(), w.waiting(func(r *approval.Request) { r.ArgumentsDigest = "another" })
	b := w.browser()
	b.as("bob", "/console/approvals/"+one.ID).wantSays(t, 200, "Their digest digest", "may stand for what is masked")
	b.get("/console/approvals/"+other.ID).wantSays(t, 200, "Their digest another")
}

// TestArgumentsThatHideTextInBlankCharactersShowIt: fillers and variation selectors count as
// printable, and two calls that differ in them alone would look alike.
func TestArgumentsThatHideTextInBlankCharactersShowIt(t *testing.T) {
	for _, r := range []rune{0x34F, 0x115F, 0x1160, 0x17B4, 0x180B, 0x2800, 0x3164, 0xFE00, 0xFE0F, 0xFFA0, 0x16FE4, 0x1D159, 0xE0041, 0xE0100, 0xE01EF} {
		if got, want := console.Visible("a"+string(r)+"b"), fmt.Sprintf(`a\u{%x}b`, r); got != want {
			t.Errorf("U+%04X is shown as %q, want %q", r, got, want)
		}
	}
	if s := "Zażółć gęślą jaźń, Việt Nam, नमस्ते, 한글, العربية, 👍"; console.Visible(s) != s {
		t.Errorf("%q is shown as %q", s, console.Visible(s))
	}
}

// TestArgumentsSpelledInEscapesAreRead: JSON lets a caller write any letter as an escape,
// which the server reads as the letter, and the approver would not.
func TestArgumentsSpelledInEscapesAreRead(t *testing.T) {
	got := console.Pretty(jsontext.Value(`{"\u0063md":"\u0072\u006d -rf \/","n":"\u202e\u000a\u001b","number":1.50e3,"big":9007199254740991}`))
	want := "{\n  \"cmd\": \"rm -rf /\",\n  \"n\": \"\\u{202e}\\n\\u001b\",\n  \"number\": 1.50e3,\n  \"big\": 9007199254740991\n}"
	if got != want {
		t.Errorf("shown as %s, want %s", got, want)
	}
}

// TestCommentOutOfBoundsIsRefused, and the person can write another.
func TestCommentOutOfBoundsIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.waiting()
	b := w.browser()
	p := b.as("bob", "/console/approvals/"+r.ID)
	for _, comment := range []string{strings.Repeat("a", 1001), "a\x1b[2Jb", "a\u202eb"} {
		p = b.post("/console/approvals/"+r.ID, url.Values{"ticket": {p.field(t, "ticket")}, "decision": {"approve"}, "comment": {comment}})
		p.wantSays(t, http.StatusBadRequest, "1,000 bytes of printable text", "Approve this call?")
	}
	w.wantState(r.ID, approval.Pending)
	b.post("/console/approvals/"+r.ID, url.Values{"ticket": {p.field(t, "ticket")}, "decision": {"approve"}, "comment": {"two\r\nlines"}}).wantSays(t, 200, "This call was approved")
}
