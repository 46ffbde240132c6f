package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/needed"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// everythingModes are the flags of the everything-server. It answers 2025-11-25 in both.
var everythingModes = map[string]string{"stateless": "-stateless=true", "sessions": "-stateless=false"}

// startEverything starts the go-sdk's server for this suite and returns its URL.
func startEverything(t *testing.T, mode string) string {
	t.Helper()
	program := needed.Built(t, "everything", "github.com/modelcontextprotocol/go-sdk/conformance/everything-server", "make test-tools")
	address, stderr := freeport.Address(t), newOutput()
	cmd := exec.Command(program, "-http="+address, everythingModes[mode])
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("stderr of the everything-server:\n%s", stderr)
		}
	})
	listening(deadline(t), t, address)
	return "http://" + address + "/mcp"
}

// listening waits for a program that says so before it does.
func listening(ctx context.Context, t *testing.T, address string) {
	t.Helper()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatal(errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// startHouseBefore starts a gateway before the upstreams, by name, of which those may have
// everything who are who in the words of access.yaml.
func startHouseBefore(t *testing.T, who string, upstreams map[string]string) *house {
	t.Helper()
	data, flags := t.TempDir(), []string{"--verbose"}
	policy := "version: 1\nroles:\n  all:\n    who: " + who + "\n    servers:\n"
	for name, at := range upstreams {
		policy += "      " + name + `: {tools: ["*"], resources: ["*"], prompts: ["*"]}` + "\n"
		flags = append(flags, "--upstream", name+"="+at)
	}
	if err := os.WriteFile(filepath.Join(data, "access.yaml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	return startHouseWith(t, data, "0", flags...)
}

// theAgent is the development agent, in access.yaml.
const theAgent = "{clients: [dev-agent]}"

// agentToken is an access token of the development agent's own.
func agentToken(t *testing.T, h *house, server string) string {
	t.Helper()
	r := http.Request{Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	r.SetBasicAuth("dev-agent", strings.TrimSpace(readFile(t, filepath.Join(h.data, "dev-agent.secret"))))
	_, body := send(t, http.MethodPost, h.url+"/oauth2/token", r.Header,
		url.Values{"grant_type": {oauth.GrantClientCredentials}, "resource": {h.url + "/mcp/" + server}}.Encode())
	var answer tokenAnswer
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("token of the development agent: %s", body)
	}
	return answer.AccessToken
}

// startInjector adds the development agent's token on the way to the gateway, and returns
// the URL there of the server. A Host and Origin that are its own become the gateway's; those
// of somebody else stay, and are the gateway's to refuse.
//
// Each request has a connection of its own: the suite gives up a stream as soon as it has the
// answer, with which Node.js ends the connection, and now and then the next request on it.
func startInjector(t *testing.T, h *house, server string) string {
	t.Helper()
	token := agentToken(t, h, server)
	to, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nil)
	s.Config.SetKeepAlivesEnabled(false)
	own := s.Listener.Addr().String()
	s.Config.Handler = proxy(t, func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = strings.Replace(r.In.Host, own, to.Host, 1)
		if o := r.In.Header.Get("Origin"); o != "" {
			r.Out.Header.Set("Origin", strings.Replace(o, own, to.Host, 1))
		}
		r.Out.Header.Set("Authorization", "Bearer "+token)
	})
	s.Start()
	t.Cleanup(s.Close)
	return s.URL + "/mcp/" + server
}

// proxy has connections of its own: a test server that is closed closes those that are idle
// in http.DefaultTransport, whoever is about to use them.
func proxy(t *testing.T, rewrite func(*httputil.ProxyRequest)) http.Handler {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{FlushInterval: -1, Transport: transport, Rewrite: rewrite, ErrorLog: log.New(io.Discard, "", 0)} // of clients that hang up
}

// startLax makes a server that reads bodies only of one that compares: it writes the headers
// as the body has them.
func startLax(t *testing.T, strict string) string {
	t.Helper()
	return startChanged(t, strict, func(_ http.ResponseWriter, r *http.Request, m modernMessage) (answered bool) {
		m.repairHeaders(r.Header)
		return false
	})
}

// startModernOnly makes a server that knows nothing of sessions of one that can be asked
// both ways.
func startModernOnly(t *testing.T, both string) string {
	t.Helper()
	return startChanged(t, both, func(w http.ResponseWriter, r *http.Request, m modernMessage) (answered bool) {
		if r.Method == http.MethodPost && m.Params.Meta[metaVersion] != nil {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return true
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"_meta has no protocolVersion"}}`, cmp.Or(string(m.ID), "null"))
		return true
	})
}

const metaVersion = "io.modelcontextprotocol/protocolVersion"

// modernMessage is what of a message is in the headers as well (MCP 2026-07-28).
type modernMessage struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Name, URI string
		Meta      map[string]any `json:"_meta"`
	}
}

func (m modernMessage) repairHeaders(h http.Header) {
	if m.Method == "" { // no message
		return
	}
	h.Set("Mcp-Method", m.Method)
	h.Del("Mcp-Name")
	if name := cmp.Or(m.Params.Name, m.Params.URI); name != "" {
		h.Set("Mcp-Name", name)
	}
	if v, ok := m.Params.Meta[metaVersion].(string); ok {
		h.Set("MCP-Protocol-Version", v)
	}
}

// startChanged puts something before a server that sees each message first.
func startChanged(t *testing.T, server string, first func(w http.ResponseWriter, r *http.Request, m modernMessage) (answered bool)) string {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	rest := proxy(t, func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: to.Scheme, Host: to.Host}) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var m modernMessage
		_ = json.Unmarshal(body, &m) // what is no message is the server's to refuse
		if !first(w, r, m) {
			rest.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + to.Path
}
