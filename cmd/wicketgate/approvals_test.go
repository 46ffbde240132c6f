package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/identity"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// receiveWebhooks is a server that verifies what it gets and passes on the bodies.
func receiveWebhooks(t *testing.T) (url string, bodies <-chan string) {
	t.Helper()
	key, err := standardwebhooks.NewWebhook(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 16)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = key.Verify(body, r.Header)
		}
		if err != nil {
			t.Errorf("the receiver: %v", err)
		}
		got <- string(body)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/hooks/s3cret", got
}

func someApproval(t *testing.T) approval.Request {
	t.Helper()
	alice, err := identity.ParseSubject("alice")
	if err != nil {
		t.Fatal(err)
	}
	return approval.Request{Binding: approval.Binding{Subject: alice, Client: identity.MustClientID("editor"), Server: "mail", Tool: "delete_message",
		ArgumentsDigest: "a", DefinitionDigest: "d", PolicyDigest: "p", Rule: "access.yaml:7"}, Arguments: []byte(`{"id":"m-1"}`),
		By: [][]string{{"approver"}}, Expires: time.Now().Add(time.Minute)}
}

// TestConfiguredWebhookIsTold of a request and of its decision, with everything wired as
// serve does it.
func TestConfiguredWebhookIsTold(t *testing.T) {
	w := newWorld(t, nil)
	url, bodies := receiveWebhooks(t)
	w.write("webhook.secret", webhookSecret+"\n")
	s, err := loadConfig(t.Context(), w.config(withTLS+withAgent+`approvals: {webhooks: [{url: "`+url+`", secret_file: webhook.secret}]}`+"\n"), roleBoth)
	if err != nil {
		t.Fatal(err)
	}
	s.house.Log, s.house.Metrics = slog.New(slog.NewTextHandler(w.log, nil)), newMetrics()
	mkdir(t, s.house.Data)
	h, err := build(t.Context(), s.house)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	r, err := h.approvals.Open(t.Context(), someApproval(t))
	if err != nil {
		t.Fatal(err)
	}
	asked := <-bodies
	bob, err := identity.ParseSubject("bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.approvals.Decide(t.Context(), approval.Decision{ID: r.ID, Approve: true, By: bob}); err != nil {
		t.Fatal(err)
	}
	decided := <-bodies
	for body, wants := range map[string][]string{
		asked:   {`"type":"approval.requested"`, `"id":"` + r.ID, `"url":"` + w.issuer + `/console/approvals/` + r.ID, `"arguments":{"id":"m-1"}`},
		decided: {`"type":"approval.approved"`, `"id":"` + r.ID, `"decided_by":"bob"`},
	} {
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s is not in %s", want, body)
			}
		}
	}
	if err := h.close(); err != nil { // the second may have been told before we hear of it
		t.Error(err)
	}
	checkWebhookTraces(t, w, s.house.Metrics)
}

// checkWebhookTraces wants metrics and audit lines, and no secret in any of them.
func checkWebhookTraces(t *testing.T, w *world, m *metrics) {
	t.Helper()
	scraped := httptest.NewRecorder()
	m.handler().ServeHTTP(scraped, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if got := scraped.Body.String(); !strings.Contains(got, `wicketgate_webhook_attempts_total{host="127.0.0.1:`) || !strings.Contains(got, `outcome="delivered"}`) {
		t.Error("the metrics do not count what was delivered")
	}
	lines := readText(t, filepath.Join(w.dir, "data", fileAudit))
	for _, want := range []string{`"kind":"approval"`, `"action":"approvals/request"`, `"action":"approvals/approve"`, `"operator":"bob"`} {
		if !strings.Contains(lines, want) {
			t.Errorf("the audit log has no %s", want)
		}
	}
	for _, text := range []string{lines, scraped.Body.String(), w.log.String()} {
		if strings.Contains(text, "s3cret") || strings.Contains(text, "MfKQ9r8GK") {
			t.Error("a secret is in the audit log, the metrics or the log")
		}
	}
}
