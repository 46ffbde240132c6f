package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/opatest"
	"github.com/wicketgate/wicketgate/policies"
)

// tries calls list_messages and reports whether it was let through.
func tries(t *testing.T, s *mcp.ClientSession) bool {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{}})
	return err == nil && !res.IsError
}

// denials counts those of calls with the reason in the audit log.
func (w *world) denials(reason string) (n int) {
	w.t.Helper()
	for line := range strings.Lines(readText(w.t, filepath.Join(w.dir, "data", "audit.jsonl"))) {
		if strings.Contains(line, `"kind":"denial"`) && strings.Contains(line, `"action":"tools/call"`) && strings.Contains(line, `"reason":"`+reason+`"`) {
			n++
		}
	}
	return n
}

// compile writes what access.yaml compiles to into a folder.
func (w *world) compile(access, folder string) string {
	w.t.Helper()
	out := filepath.Join(w.dir, folder)
	if err := compilePolicy(w.t.Context(), policies.Files{Access: w.write(folder+".yaml", access)}, out, w.log); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestOPAThatFailsDeniesCalls: a real OPA decides for the real gateway; killed, slow or
// answering rubbish it denies, and each denial is in the audit log.
func TestOPAThatFailsDeniesCalls(t *testing.T) {
	w := newWorld(t, nil)
	access := billing("list_messages")
	w.write("access.yaml", access)
	opa := opatest.Start(t, w.compile(access, "bundle")) // not as a bundle, so that it can be changed
	w.start(w.config(withTLS + withAgent + "pdp: {opa: {url: \"" + opa.URL + "\"}}\n"))
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	s := w.connect(raw)
	if !tries(t, s) {
		t.Fatal("denied while all is well")
	}
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	opa.Pause(t)
	if tries(t, s) || w.denials("timeout") != 1 {
		t.Errorf("slow: %d denials", w.denials("timeout"))
	}
	opa.Resume(t)
	if !tries(t, s) {
		t.Error("denied once it is fast again")
	}
	rubbish(t, opa)
	if tries(t, s) || w.denials("malformed") != 1 {
		t.Errorf("rubbish: %d denials", w.denials("malformed"))
	}
	opa.Kill()
	if tries(t, s) || w.denials("opa_unreachable") != 1 {
		t.Errorf("killed: %d denials", w.denials("opa_unreachable"))
	}
	w.log.with("the OPA that decides does not: everything is denied")
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"name":"policy","ok":false,"error":"the OPA that decides does not`) {
		t.Errorf("readyz: %d %s", status, body)
	}
}

// rubbish puts another policy into the place of ours, as whoever reaches the OPA may.
func rubbish(t *testing.T, opa *opatest.Server) {
	t.Helper()
	resp, err := http.Get(opa.URL + "/v1/policies")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var loaded struct{ Result []struct{ ID string } }
	if err := json.NewDecoder(resp.Body).Decode(&loaded); err != nil || len(loaded.Result) != 1 {
		t.Fatalf("loaded: %+v, %v", loaded, err)
	}
	req, err := http.NewRequest(http.MethodPut, opa.URL+"/v1/policies/"+url.PathEscape(loaded.Result[0].ID), strings.NewReader("package wicketgate.access\n\ndecision := {\"allow\": true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if status, body, err := roundTrip(nil, req); err != nil || status != http.StatusOK {
		t.Fatalf("put: %d %s %v", status, body, err)
	}
}

// bundles is a server of OPA's bundles.
type bundles struct {
	w *world

	mu    sync.Mutex // guards what follows
	n     int
	now   []byte
	asked string // the last If-None-Match
}

// ServeHTTP implements http.Handler.
func (b *bundles) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	etag := fmt.Sprintf("%q", fmt.Sprint("v", b.n))
	b.asked = r.Header.Get("If-None-Match")
	switch {
	case b.now == nil || r.Header.Get("Authorization") != "Bearer of-the-bundles":
		rw.WriteHeader(http.StatusNotFound)
	case b.asked == etag:
		rw.WriteHeader(http.StatusNotModified)
	default:
		rw.Header().Set("ETag", etag)
		_, _ = rw.Write(b.now)
	}
}

func (b *bundles) lastAsked() string { b.mu.Lock(); defer b.mu.Unlock(); return b.asked }

// sign has OPA sign what access.yaml compiles to, with the serial.
func (b *bundles) sign(access, key string, serial int) {
	b.w.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	folder := b.w.compile(access, fmt.Sprint("bundle", b.n))
	manifest := filepath.Join(folder, ".manifest")
	b.w.write(filepath.Join(filepath.Base(folder), ".manifest"), strings.Replace(readText(b.w.t, manifest), "{", fmt.Sprintf(`{"metadata": {"serial": %d},`, serial), 1))
	out := filepath.Join(b.w.dir, fmt.Sprint("signed", b.n, ".tar.gz"))
	command := exec.Command(opatest.Program(b.w.t), "build", "--bundle", folder, "--signing-alg", "ES256", "--signing-key", key, "--output", out)
	if text, err := command.CombinedOutput(); err != nil {
		b.w.t.Fatalf("opa build: %v\n%s", err, text)
	}
	b.now = []byte(readText(b.w.t, out))
}

// writeKeys makes a pair for signatures and returns the path of the private one.
func (w *world) writeKeys(name string) string {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	private, err1 := x509.MarshalPKCS8PrivateKey(key)
	public, err2 := x509.MarshalPKIXPublicKey(key.Public())
	if err := errors.Join(err1, err2); err != nil {
		w.t.Fatal(err)
	}
	w.write(name+".pub.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	return w.write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

// times waits until the log holds the text so often.
func (l *lockedBuffer) times(text string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for strings.Count(l.b.String(), text) < n {
		l.written.Wait()
	}
}

// TestBundleServer: policy comes from a server of OPA's bundles, signed by OPA. Until there
// is a good one everything is denied; a forged and an old one change nothing, not even by
// a restart.
func TestBundleServer(t *testing.T) {
	w := newWorld(t, nil)
	good, evil := w.writeKeys("good"), w.writeKeys("evil")
	b := &bundles{w: w}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	w.write("bundles.token", "of-the-bundles\n")
	config := w.config(withTLS + withAgent + "pdp: {bundle: {url: \"" + server.URL + "/wicketgate.tar.gz\", key_file: good.pub.pem, algorithm: ES256, token_file: bundles.token}}\n")
	w.write("wicketgate.yaml", strings.Replace(readText(t, config), "policy: access.yaml\n", "", 1))
	stop := w.start(config)
	w.log.with("the policy was refused: there is none, everything is denied")
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "there is none, everything is denied") {
		t.Errorf("readyz without a bundle: %d %s", status, body)
	}
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	old, current := billing("list_messages, read_message"), billing("list_messages")
	b.sign(old, good, 1)
	w.hangup()
	w.log.with(`"msg":"another policy is in effect"`)
	s := w.connect(raw)
	if !tries(t, s) {
		t.Error("denied by a good bundle")
	}
	b.sign(current, good, 2)
	w.hangup()
	w.log.times(`"msg":"another policy is in effect"`, 2)
	if got := toolsOf(t, s); got != "list_messages" {
		t.Errorf("tools by the second bundle: %s", got)
	}
	b.sign(billing("send_message"), evil, 3)
	w.hangup()
	w.log.with("failed to verify JWT signature")
	b.sign(old, good, 1)
	w.hangup()
	w.log.with("it is older than one that was in effect")
	if !tries(t, s) || b.lastAsked() == "" {
		t.Errorf("the good one does not stay; asked with ETag %q", b.lastAsked())
	}
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK || !strings.Contains(body, " stays: ") {
		t.Errorf("readyz with an old bundle: %d %s", status, body)
	}
	stop()
	w.restart(config)
	w.log.with("it is older than one that was in effect")
	if _, refused := w.accessToken(w.client()); refused != "" {
		t.Error(refused)
	}
	if status, _ := w.get(w.admin + "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("readyz with nothing but an old bundle: %d", status)
	}
}

// publicPEM is a key that signs nothing.
func publicPEM(t *testing.T) string {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	w.writeKeys("unused")
	return readText(t, filepath.Join(w.dir, "unused.pub.pem"))
}
