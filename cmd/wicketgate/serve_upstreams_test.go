package main

import (
	"bufio"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// A26: an operator sees which server does not answer, and the process stays ready: others
// are served.
func TestServerThatFailsIsAWarningAndInTheMetrics(t *testing.T) {
	var down atomic.Bool
	w := newWorld(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if down.Load() {
				rw.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(rw, r)
		})
	})
	w.start(w.config(withTLS + withAgent))
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	s := w.connect(raw)
	call := func() error {
		_, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{}})
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK || !strings.Contains(body, `{"name":"servers","ok":true}`) {
		t.Errorf("readyz: %d %s", status, body)
	}
	down.Store(true)
	for range 5 {
		if err := call(); err == nil || !strings.Contains(err.Error(), "upstream_failed") {
			t.Fatalf("a call of a server that fails: %v", err)
		}
	}
	if err := call(); err == nil || !strings.Contains(err.Error(), "upstream_circuit_open") {
		t.Errorf("the sixth call: %v", err)
	}
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK || !strings.Contains(body, `{"name":"servers","ok":true,"warning":"do not answer, and calls of them are refused or tried one at a time: mail"}`) {
		t.Errorf("readyz: %d %s", status, body)
	}
	_, metrics := w.get(w.admin + "/metrics")
	for _, want := range []string{
		`wicketgate_server_circuit_state{server="mail",state="open"} 1`, `wicketgate_server_circuit_state{server="mail",state="closed"} 0`,
		`wicketgate_calls_total{era="stateless",reason="upstream_failed",server="mail"} 5`, `wicketgate_calls_total{era="stateless",reason="upstream_circuit_open",server="mail"} 1`,
		`wicketgate_call_duration_seconds_count{era="stateless",server="mail"}`, `wicketgate_server_bytes_total{direction="received",server="mail"}`,
		`wicketgate_server_streams_open{server="mail"} 0`, `wicketgate_server_sessions_kept{server="mail"}`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	for _, never := range []string{agentID, "list_messages"} {
		if strings.Contains(metrics, never) {
			t.Errorf("/metrics names %s", never)
		}
	}
}

// No caller and no other process makes up ever more values of a label.
func TestReasonsInTheMetricsAreBounded(t *testing.T) {
	var v vocabulary
	seen := map[string]bool{}
	for i := range 10 * maxReasons {
		seen[v.label(strings.Repeat("x", i+1))] = true
	}
	if len(seen) != maxReasons+1 || v.label("x") != "x" || v.label("another") != "other" {
		t.Errorf("%d values", len(seen))
	}
}

// A stream that would never end does not keep the process from stopping.
func TestStopEndsStreamsAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	stop := w.start(w.config(withTLS + withAgent + "stop: {finish: 10m}\n"))
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	client := w.client()
	client.Transport = bearer{client.Transport, raw}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.issuer+"/mcp/mail", strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},
		"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"} {
		req.Header.Set(name, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := bufio.NewScanner(resp.Body)
	if events.Scan(); resp.StatusCode != http.StatusOK || events.Text() != "event: message" {
		t.Fatalf("%s %s", resp.Status, events.Text())
	}
	if _, metrics := w.get(w.admin + "/metrics"); !strings.Contains(metrics, `wicketgate_server_streams_open{server="mail"} 1`) {
		t.Error("the stream is not in /metrics")
	}
	if code := stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	last := ""
	for events.Scan() {
		last += events.Text()
	}
	if !strings.Contains(last, `"resultType":"complete"`) {
		t.Errorf("the stream ended with %s", last)
	}
}

func TestBudgetBelowOneAnswerIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	path := w.write("wicketgate.yaml", strings.Replace(readText(t, w.config(withTLS)), `/mcp"}`, `/mcp", timeout: 30s, budget: {bytes: 1000}}`, 1))
	log := newLog()
	if code := run(t.Context(), []string{"serve", "--config", path, "--check-config"}, log, log); code != 2 || !strings.Contains(log.String(), "servers[0].budget.bytes is 1000, less than one answer may have") {
		t.Errorf("exit code %d, %s", code, log)
	}
	w.write("wicketgate.yaml", strings.Replace(readText(t, path), "1000", "4194304, calls: 0", 1))
	if code := run(t.Context(), []string{"serve", "--config", path, "--check-config"}, log, log); code != 0 {
		t.Errorf("exit code %d, %s", code, log)
	}
}
