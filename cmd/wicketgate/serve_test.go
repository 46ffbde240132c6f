package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestServeCallsAToolForAWorkload(t *testing.T) {
	w := newWorld(t, nil)
	stop := w.start(w.config(withTLS + withAgent))
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatalf("no access token: %s", refused)
	}
	s := w.connect(raw)
	var tools []string
	for tool, err := range s.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		tools = append(tools, tool.Name)
	}
	if !slices.Equal(tools, []string{"list_messages"}) {
		t.Errorf("tools %q", tools)
	}
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{"limit": 2}})
	if err != nil || res.IsError {
		t.Errorf("call: %v, %v", res, err)
	}
	if _, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "send_message", Arguments: map[string]any{}}); err == nil {
		t.Error("a tool that policy does not name could be called")
	}
	w.checkMetrics(raw)
	if code := stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	var out strings.Builder
	if code := run(t.Context(), []string{"audit", "verify", "--config", filepath.Join(w.dir, "wicketgate.yaml")}, &out, &out); code != 0 {
		t.Errorf("audit verify: %s", out.String())
	}
}

// checkMetrics wants numbers of what was done, and nothing of who did it.
func (w *world) checkMetrics(raw string) {
	w.t.Helper()
	status, body := w.get(w.admin + "/metrics")
	if status != http.StatusOK {
		w.t.Errorf("metrics: %d", status)
	}
	for _, want := range []string{
		`wicketgate_http_request_duration_seconds_count{code="2xx",handler="POST /oauth2/token",method="POST"} 1`,
		`wicketgate_http_request_duration_seconds_bucket{code="2xx",handler="/mcp/{server}",method="POST",le="`,
		`wicketgate_audit_lines_total{kind="intent"}`, `wicketgate_audit_lines_total{kind="denial"}`, "wicketgate_audit_failures_total 0",
		"wicketgate_tls_certificate_expiry_timestamp_seconds", "go_build_info{", "go_goroutines",
	} {
		if !strings.Contains(body, want) {
			w.t.Errorf("metrics have no %s", want)
		}
	}
	for _, secret := range []string{raw, agentSecret, agentID, "list_messages", "127.0.0.1"} {
		if strings.Contains(body, secret) {
			w.t.Errorf("metrics name %q", secret)
		}
		if secret != "127.0.0.1" && secret != agentID && secret != "list_messages" && strings.Contains(w.log.String(), secret) {
			w.t.Errorf("the log holds %q", secret)
		}
	}
}

func TestStrangerCannotMakeUpMetricLabels(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS))
	client := w.client()
	for _, method := range []string{"EVIL1", "EVIL2"} {
		req, err := http.NewRequest(method, serveIssuer+"/evil/"+method+"?evil", nil)
		if err != nil {
			t.Fatal(err)
		}
		w.do(client, req)
	}
	_, body := w.get(w.admin + "/metrics")
	if strings.Contains(strings.ToLower(body), "evil") || !strings.Contains(body, `{code="4xx",handler="none",method="other"} 2`) {
		t.Errorf("metrics:\n%s", body)
	}
}

// A4: a page of another site, whose name was made to resolve to this machine, reads nothing
// that is meant for operators.
func TestPageOfAnotherSiteReadsNothingOfOperators(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS))
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		for host, want := range map[string]int{"evil.example:8421": http.StatusMisdirectedRequest, "evil.example": http.StatusMisdirectedRequest, "127.0.0.1.evil.example": http.StatusMisdirectedRequest,
			"localhost:8421": http.StatusOK, "[::1]:8421": http.StatusOK, "": http.StatusOK} {
			req, err := http.NewRequest("GET", w.admin+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			if status, body := w.do(http.DefaultClient, req); status != want || status != http.StatusOK && len(body) > 100 {
				t.Errorf("%s for %q: %d %s", path, host, status, body)
			}
		}
	}
}

func TestReadyzFailsWhileTheStoreOrTheAuditLogIsGone(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS))
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK || !strings.Contains(body, `"status":"ready"`) {
		t.Fatalf("readyz: %d %s", status, body)
	}
	for name, check := range map[string]string{fileStore: "store", fileAudit: "audit"} {
		path := filepath.Join(w.dir, "data", name)
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		status, body := w.get(w.admin + "/readyz")
		if status != http.StatusServiceUnavailable || !strings.Contains(body, `{"name":"`+check+`","ok":false,"error":"`) {
			t.Errorf("without %s: %d %s", name, status, body)
		}
		if status, _ := w.get(w.admin + "/healthz"); status != http.StatusOK {
			t.Errorf("healthz: %d", status)
		}
		replaceFile(t, path, nil) // another file in its place is no better
		if status, body := w.get(w.admin + "/readyz"); status != http.StatusServiceUnavailable {
			t.Errorf("with another %s: %d %s", name, status, body)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK {
			t.Errorf("%s is back: %d %s", name, status, body)
		}
	}
}

// After a line could not be written, readiness comes back by itself.
func TestReadyzTriesTheAuditLogAgainAfterAFailure(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS + withAgent))
	path := filepath.Join(w.dir, "data", fileAudit)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if raw, body := w.accessToken(w.client()); raw != "" || !strings.Contains(body, "server_error") {
		t.Errorf("a token was issued without a line in the audit log: %s", body)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	if _, body := w.get(w.admin + "/metrics"); !strings.Contains(body, `wicketgate_audit_lines_total{kind="probe"} 1`) {
		t.Errorf("no probe:\n%s", body)
	}
}

func TestCertificateIsReadAnewAndOpenConnectionsGoOn(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS))
	old := w.client()
	if serial, _ := w.handshake(old); serial != 1 {
		t.Fatalf("serial %d", serial)
	}
	others := []*http.Client{w.client(), w.client()}
	cert, key := newPair(t, 2)
	replaceFile(t, filepath.Join(w.dir, "cert.pem"), cert) // half of it
	for _, c := range others {
		if serial, reused := w.handshake(c); serial != 1 || reused {
			t.Errorf("with half a pair: serial %d, reused %v", serial, reused)
		}
	}
	replaceFile(t, filepath.Join(w.dir, "key.pem"), key)
	if serial, reused := w.handshake(w.client()); serial != 2 || reused {
		t.Errorf("new connection: serial %d, reused %v", serial, reused)
	}
	if serial, reused := w.handshake(old); serial != 1 || !reused {
		t.Errorf("old connection: serial %d, reused %v", serial, reused)
	}
	if n := strings.Count(w.log.String(), "new certificate not used"); n != 1 {
		t.Errorf("half a pair was logged %d times", n)
	}
}

// handshake makes a request and returns the serial of the certificate.
func (w *world) handshake(client *http.Client) (serial int64, reused bool) {
	w.t.Helper()
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(w.t.Context(), trace), http.MethodGet, serveIssuer+"/.well-known/oauth-authorization-server", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		w.t.Errorf("status %d", resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(new(any)); err != nil {
		w.t.Error(err)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.Int64(), reused
}

func TestServeRefusesOldTLS(t *testing.T) {
	for min, refused := range map[string]uint16{"1.2": tls.VersionTLS11, "1.3": tls.VersionTLS12} {
		w := newWorld(t, nil)
		w.start(w.config(strings.Replace(withTLS, "}", `, min_version: "`+min+`"}`, 1)))
		conf := &tls.Config{ServerName: serveHost, MinVersion: tls.VersionTLS10, MaxVersion: refused, RootCAs: w.client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
		if c, err := tls.Dial("tcp", w.front, conf); err == nil {
			c.Close()
			t.Errorf("min_version %s: %s was spoken", min, tls.VersionName(refused))
		}
		conf.MaxVersion = tls.VersionTLS13
		c, err := tls.Dial("tcp", w.front, conf)
		if err != nil {
			t.Errorf("min_version %s: %v", min, err)
			continue
		}
		c.Close()
	}
}

// A5.
func TestServeHasNoLoginByAClick(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS))
	client := w.client()
	post := func(path, contentType, body string) (int, string) {
		req, err := http.NewRequest(http.MethodPost, serveIssuer+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		return w.do(client, req)
	}
	_, body := post("/oauth2/register", "application/json", `{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}`)
	var c struct {
		ID string `json:"client_id"`
	}
	_ = json.Unmarshal([]byte(body), &c) // a server without login need not register anybody
	q := url.Values{"client_id": {c.ID}, "redirect_uri": {"http://127.0.0.1/cb"}, "response_type": {"code"}, "resource": {serveIssuer + "/mcp/mail"},
		"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"}}
	if _, body := w.get(serveIssuer + "/oauth2/authorize?" + q.Encode()); strings.Contains(body, `name="user"`) {
		t.Errorf("the page offers somebody to be:\n%s", body)
	}
	if status, body := post("/oauth2/login", "application/x-www-form-urlencoded", "user=alice"); status < 400 || status == http.StatusInternalServerError {
		t.Errorf("login: %d %s", status, body)
	}
}

// A5.
func TestServeRefusesDataOfDevelopmentMode(t *testing.T) {
	w := newWorld(t, nil)
	_, stop := startDev(t, "--data", filepath.Join(w.dir, "data"))
	stop()
	var out strings.Builder
	if code := run(t.Context(), []string{"serve", "--config", w.config(withTLS)}, &out, &out); code != 1 || !strings.Contains(out.String(), "was made by wicketgate dev") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

func TestDevelopmentModeRefusesDataOfServe(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS))()
	var out strings.Builder
	if code := run(t.Context(), []string{"dev", "--listen", "127.0.0.1:0", "--data", filepath.Join(w.dir, "data")}, &out, &out); code != 1 ||
		!strings.Contains(out.String(), "was made by wicketgate serve") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

func TestClientThatWasRemovedFromTheConfigurationIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	stop := w.start(w.config(withTLS + withAgent))
	if raw, refused := w.accessToken(w.client()); raw == "" {
		t.Fatal(refused)
	}
	stop()
	w.restart(w.config(withTLS))
	if raw, refused := w.accessToken(w.client()); raw != "" || !strings.Contains(refused, "invalid_client") {
		t.Errorf("a removed client got %q, %s", raw, refused)
	}
}

func TestServeKeepsItsFilesWhereTheConfigurationSays(t *testing.T) {
	w := newWorld(t, nil)
	for _, dir := range []string{"logs", "keys", "db"} {
		if err := os.Mkdir(filepath.Join(w.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.start(w.config(withTLS + `audit: {path: logs/a.jsonl, sync: true}
key_encryption_key: keys/kek
store: {sqlite: {path: db/w.db}}
`))()
	for _, name := range []string{"logs/a.jsonl", "keys/kek", "db/w.db"} {
		if info, err := os.Stat(filepath.Join(w.dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, error %v", name, info, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(w.dir, "data")); err != nil || len(left) != 0 {
		t.Errorf("in the data folder: %v, error %v", left, err)
	}
}

func TestFloodOfConnectionsWaits(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.write("wicketgate.yaml", `issuer: `+serveIssuer+`
admin: {listen: "127.0.0.1:0"}
data: data
policy: access.yaml
limits: {connections: 16, headers: 1m}
log: {format: json}
`+withTLS)) // without a server, which would ask for keys
	conf := &tls.Config{ServerName: serveHost, RootCAs: w.client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	var last *tls.Conn
	for range 16 {
		c, err := tls.Dial("tcp", w.front, conf)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		last = c
	}
	impatient := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 200 * time.Millisecond}, Config: conf}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if c, err := impatient.DialContext(ctx, "tcp", w.front); err == nil {
		c.Close()
		t.Error("a seventeenth connection was served")
	}
	last.Close()
	c, err := tls.Dial("tcp", w.front, conf)
	if err != nil {
		t.Fatalf("after one had ended: %v", err)
	}
	c.Close()
}
