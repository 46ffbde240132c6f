package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Selectors that tell the console's pages apart.
const (
	onDecide   = `#decide button[value="approve"]`
	onDeny     = `#decide button[value="deny"]`
	onOwn      = `#own`
	onStepUp   = `#stepup`
	onMessage  = `#message`
	isApproved = `.state.approved`
	isUsed     = `.state.used`
	isDenied   = `.state.denied`
	isPending  = `.state.pending`
)

const approvalAccess = `version: 1
roles:
  approver:
    who: {users: [alice, bob]}
  writer:
    who: {users: [alice]}
    servers:
      mail:
        tools:
          list_messages:
          send_message: {risk: high, approval: {by: [approver], within: 15m}}
          delete_message: {risk: critical, approval: {by: [approver], within: 15m, max_age: 10s}}
`

// startApprovals starts a house whose risky calls wait for approval, with alice's client.
func startApprovals(t *testing.T) (*house, *session) {
	t.Helper()
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "access.yaml"), []byte(approvalAccess), 0o600); err != nil {
		t.Fatal(err)
	}
	h := startHouseWith(t, data, "0")
	return h, open(t, h, newRawClient(t, h).login(t, "alice").AccessToken)
}

const letter = `{"to":"eve@example.com","subject":"the offer","body":"as agreed"}`

var approvalURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+/console/approvals/([A-Za-z0-9]+)`)

// toolAnswer is what a call is answered, in the text for people.
func (s *session) toolAnswer(t *testing.T, tool, arguments string) string {
	t.Helper()
	resp, body := s.call(t, tool, arguments)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", tool, resp.StatusCode, body)
	}
	return string(body)
}

// held makes a call that has to wait, and returns the page where it is decided.
func (s *session) held(t *testing.T, tool, arguments string) (page, id string) {
	t.Helper()
	body := s.toolAnswer(t, tool, arguments)
	m := approvalURL.FindStringSubmatch(body)
	if m == nil || !strings.Contains(body, `"error"`) && !strings.Contains(body, `"isError":true`) {
		t.Fatalf("the call is answered %s", body)
	}
	return m[0], m[1]
}

// logIn logs in on the page that the browser is at, and allows what is asked.
func (b tab) logIn(user, leadsTo string) {
	b.t.Helper()
	b.click(`button[value="`+user+`"]`, onConsent)
	b.says("part of this server", "approve or deny risky calls of others")
	b.click(onConsent, leadsTo)
}

// TestApprovalInARealBrowser: alice's call waits, bob lets it through on the page, and it is
// made once. Nobody else decides, and alice least of all.
func TestApprovalInARealBrowser(t *testing.T) {
	h, s := startApprovals(t)
	browser := startBrowser(t)
	page, id := s.held(t, "send_message", letter)

	alice := newTab(t, browser)
	alice.open(page, onLogin)
	alice.logIn("alice", onOwn)
	alice.says("This call waits for approval", "your own call", "somebody else has to decide")
	alice.inspect("")

	carol := newTab(t, browser)
	carol.open(page, onLogin)
	carol.logIn("carol", onMessage)
	carol.says("There is no such request here, or it is not for you to see")
	carol.inspect("")

	bob := newTab(t, browser)
	if _, err := chromedp.Call(bob.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	bob.open(page, onLogin)
	bob.logIn("bob", onDecide)
	bob.says("Approve this call?", "On behalf of alice", "send_message on server mail", "high", `"to": "eve@example.com"`, "as agreed", "approver", "left", "Signed in as bob")
	bob.inspect("approval")
	bob.do(chromedp.SendKeys(chromedp.CSS("#comment"), "agreed by phone"))
	bob.click(onDecide, isApproved)
	bob.says("This call was approved", "Decided by bob", "agreed by phone")
	bob.inspect("")
	alice.see(isApproved) // her page looks again by itself
	alice.open(page, isApproved)
	if text := alice.text(); strings.Contains(text, "bob") || strings.Contains(text, "phone") {
		t.Errorf("alice is told who decided: %s", text)
	}

	if body := s.toolAnswer(t, "send_message", letter); strings.Contains(body, `"isError":true`) || strings.Contains(body, `"error"`) {
		t.Errorf("the call that was approved is answered %s", body)
	}
	bob.open(page, isUsed)
	if again, _ := s.held(t, "send_message", letter); again == page {
		t.Errorf("the same call a second time waits for %s again", again)
	}
	bob.open(h.url+"/console/", isPending)
	bob.says("Waiting", "Recent", "for alice · risk high")
	bob.inspect("approvals")
	h.wantApproval(t, id, "bob")
}

// wantApproval wants the decision in the audit log, and the call that was made by it.
func (h *house) wantApproval(t *testing.T, id, by string) {
	t.Helper()
	b, err := os.ReadFile(h.auditFile())
	if err != nil {
		t.Fatal(err)
	}
	decided, made := false, false
	for l := range strings.Lines(string(b)) {
		var line struct{ Kind, Action, Operator, Approval, Subject string }
		if err := json.Unmarshal([]byte(l), &line); err != nil {
			t.Fatal(err)
		}
		if line.Approval != id {
			continue
		}
		decided = decided || line.Action == "approvals/approve" && line.Operator == by
		made = made || line.Kind == "intent" && line.Subject == "alice"
	}
	if !decided || !made {
		t.Errorf("the audit log has the decision: %t, and the call: %t", decided, made)
	}
}

// TestApproverWithAnOldLoginStepsUp: what is critical asks for a login of the last seconds.
func TestApproverWithAnOldLoginStepsUp(t *testing.T) {
	_, s := startApprovals(t)
	page, _ := s.held(t, "delete_message", `{"id":"m1"}`)
	b := newTab(t, startBrowser(t))
	b.open(page, onLogin)
	b.logIn("bob", onDecide)
	for old := false; !old; { // until the login is
		b.open(page, onDecide+","+onStepUp)
		old = strings.Contains(b.text(), "Log in again")
	}
	b.says("once you have logged in again: it asks for a login of the last 10 seconds")
	b.inspect("approval-step-up")
	b.click(onStepUp, onLogin)
	b.click(`button[value="bob"]`, onDeny)
	b.click(onDeny, isDenied)
	if body := s.toolAnswer(t, "delete_message", `{"id":"m1"}`); !strings.Contains(body, "denied") {
		t.Errorf("the call that was denied is answered %s", body)
	}
}

// TestBrowserRefusesToFrameTheConsole: clickjacking.
func TestBrowserRefusesToFrameTheConsole(t *testing.T) {
	_, s := startApprovals(t)
	page, _ := s.held(t, "send_message", letter)
	local := startApp(t)
	b := newTab(t, startBrowser(t))
	b.open(page, onLogin)
	b.logIn("bob", onDecide)
	b.do(chromedp.Navigate(onLocalhost(local.URL) + "/frame?page=" + page))
	if said := strings.Join(b.refused(), " "); !strings.Contains(said, "frame") {
		t.Errorf("the browser does not say that it refused to frame the page: %q", said)
	}
}

var deviceLink = regexp.MustCompile(`(?m)^  (http\S+/oauth2/device\?\S+)$`)

// TestApproveFromATerminal: the real command, and a browser for the login.
func TestApproveFromATerminal(t *testing.T) {
	h, s := startApprovals(t)
	_, id := s.held(t, "send_message", letter)
	ctx, cancel := context.WithTimeout(t.Context(), testWithin)
	defer cancel()
	stdout, stderr := newOutput(), newOutput()
	c := exec.CommandContext(ctx, binary, "approvals", "approve", id, "--comment", "from here", "--issuer", h.url)
	c.Stdout, c.Stderr = stdout, stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var link string
	for link == "" {
		changed := stderr.changed()
		if m := deviceLink.FindStringSubmatch(stderr.String()); m != nil {
			link = m[1]
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no link: %s", stderr)
		}
	}
	b := newTab(t, startBrowser(t))
	b.open(link, onDevice)
	b.click("button.go", onLogin)
	b.click(`button[value="bob"]`, onConsent)
	b.says("wicketgate approvals", "anybody can start", "approve or deny risky calls of others")
	b.click(onConsent, onDone)
	if err := c.Wait(); err != nil || !strings.Contains(stdout.String(), "approved") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	if body := s.toolAnswer(t, "send_message", letter); strings.Contains(body, `"error"`) || strings.Contains(body, `"isError":true`) {
		t.Errorf("the call that was approved is answered %s", body)
	}
}
