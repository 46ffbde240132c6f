package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/demomail"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/metadata"
)

const (
	serveHost   = "mcp.example.com"
	serveIssuer = "https://" + serveHost
	agentID     = "billing-agent"
	agentSecret = "0f7f3c1b5f8a4d3e9c6b2a1908f7e6d5c4b3a29180716253443526170819a0b1"
)

// world is a folder with a configuration, and a mail server to put behind it.
type world struct {
	t      *testing.T
	dir    string
	mail   *httptest.Server
	issuer string
	served chan struct{} // closed once the mail server can fetch keys
	front  string        // address of the listener for clients
	admin  string        // URL of that for operators
	mutual string        // address of that for clients with certificates
	log    *lockedBuffer
	keys   sync.Map // kid to token.PublicKey: an upstream keeps what it has fetched
}

// newWorld writes all files but wicketgate.yaml. around may wrap the mail server.
func newWorld(t *testing.T, around func(http.Handler) http.Handler) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), issuer: serveIssuer, served: make(chan struct{}), log: newLog()}
	w.mail = httptest.NewUnstartedServer(nil)
	resource := "http://" + w.mail.Listener.Addr().String() + "/mcp"
	h := demomail.New(demomail.Config{Resource: resource, Issuer: serveIssuer,
		Verifier: token.NewVerifier(token.VerifierConfig{Issuer: serveIssuer, Keys: w, Now: time.Now})})
	if around != nil {
		h = around(h)
	}
	w.mail.Config.Handler = h
	w.mail.Start()
	t.Cleanup(w.mail.Close)
	writePair(t, w.dir, 1)
	w.write("agent.secret", agentSecret+"\n")
	w.write("access.yaml", `version: 1
roles:
  billing:
    who: {clients: [`+agentID+`]}
    servers:
      mail: {tools: [list_messages]}
`)
	return w
}

// config writes wicketgate.yaml: TLS, the mail server and the agent, and the
// further lines.
func (w *world) config(further string) string {
	w.t.Helper()
	return w.write("wicketgate.yaml", `issuer: `+w.issuer+`
admin: {listen: "127.0.0.1:0"}
data: data
policy: access.yaml
trust: first-use
servers:
  - {name: mail, url: "`+w.mail.URL+`/mcp"}
log: {level: debug, format: json}
`+further)
}

const (
	withTLS   = "listen: 127.0.0.1:0\ntls: {cert: cert.pem, key: key.pem}\n"
	withAgent = "clients:\n  - {id: " + agentID + ", secret_file: agent.secret}\n"
)

func (w *world) write(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// start serves in this process until stop is called.
func (w *world) start(config string, flags ...string) (stop func() int) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	out, in := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, append([]string{"serve", "--config", config}, flags...), in, w.log)
		in.Close()
	}()
	stop = sync.OnceValue(func() int { cancel(); return <-done })
	w.t.Cleanup(func() {
		stop()
		if w.t.Failed() {
			w.t.Log(w.log)
		}
	})
	w.await(out)
	return stop
}

// await waits for the line "ready" and reads the addresses from the log.
func (w *world) await(out io.Reader) {
	w.t.Helper()
	sc := bufio.NewScanner(out)
	if !sc.Scan() || sc.Text() != "ready "+w.issuer {
		w.t.Fatalf("not ready: %q\n%s", sc.Text(), w.log)
	}
	go io.Copy(io.Discard, out)
	for line := range strings.Lines(w.log.with(`"msg":"serving"`)) {
		var l struct {
			Msg, Listen, Admin string
			Mutual             string `json:"mutual_tls"`
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "serving" {
			_, port, err := net.SplitHostPort(l.Listen)
			if err != nil {
				w.t.Fatal(err)
			}
			w.front, w.admin, w.mutual = "127.0.0.1:"+port, "http://"+l.Admin, l.Mutual
		}
	}
	close(w.served)
}

// restart is start after an end, with a log of its own.
func (w *world) restart(config string, flags ...string) (stop func() int) {
	w.t.Helper()
	w.served, w.log = make(chan struct{}), newLog()
	return w.start(config, flags...)
}

// client goes to the listener whatever the host, and believes only the
// certificate that is in the folder now.
func (w *world) client() *http.Client {
	w.t.Helper()
	return w.clientAt(w.front)
}

// clientAt goes to that listener, with certificates if it asks for one.
func (w *world) clientAt(address string, certificates ...tls.Certificate) *http.Client {
	w.t.Helper()
	pool := x509.NewCertPool()
	b, err := os.ReadFile(filepath.Join(w.dir, "cert.pem"))
	if err != nil || !pool.AppendCertsFromPEM(b) {
		w.t.Fatalf("certificate: %v", err)
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certificates}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Key implements token.KeySet for the mail server.
func (w *world) Key(ctx context.Context, kid string) (token.PublicKey, error) {
	if k, ok := w.keys.Load(kid); ok {
		return k.(token.PublicKey), nil
	}
	select {
	case <-w.served:
	case <-ctx.Done():
		return token.PublicKey{}, ctx.Err()
	}
	var set jose.JSONWebKeySet
	resp, err := w.client().Get(w.issuer + metadata.PathJWKS)
	if err != nil {
		return token.PublicKey{}, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return token.PublicKey{}, err
	}
	for _, k := range set.Key(kid) {
		key := token.PublicKey{Algorithm: k.Algorithm, Key: k.Key}
		w.keys.Store(kid, key)
		return key, nil
	}
	return token.PublicKey{}, token.ErrUnknownKey
}

// accessToken asks for one, and returns what came instead if it was refused.
func (w *world) accessToken(client *http.Client) (raw, refused string) {
	w.t.Helper()
	return tokenIn(w.post(client, w.issuer+"/oauth2/token", w.credentials(), agentID, agentSecret))
}

// credentials is a request of a workload for itself, with the further parameters.
func (w *world) credentials(further ...string) url.Values {
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {w.issuer + "/mcp/mail"}}
	for i := 0; i < len(further); i += 2 {
		form.Set(further[i], further[i+1])
	}
	return form
}

// tokenIn is the token in an answer, or the body that came instead.
func tokenIn(status int, body string) (raw, refused string) {
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if status != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil {
		return "", body
	}
	return answer.AccessToken, ""
}

func (w *world) do(client *http.Client, req *http.Request) (int, string) {
	w.t.Helper()
	status, body, err := roundTrip(client.Transport, req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return status, body
}

// roundTrip follows no redirect.
func roundTrip(t http.RoundTripper, req *http.Request) (int, string, error) {
	if t == nil {
		t = http.DefaultTransport
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func (w *world) get(url string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client := http.DefaultClient
	if !strings.HasPrefix(url, w.admin) {
		client = w.client()
	}
	return w.do(client, req)
}

// post posts a form, as a client with its id and secret if they are given.
func (w *world) post(client *http.Client, url string, form url.Values, as ...string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if len(as) == 2 {
		req.SetBasicAuth(as[0], as[1])
	}
	return w.do(client, req)
}

// metadata is what the authorization server says of itself.
func (w *world) metadata() map[string]any {
	w.t.Helper()
	var doc map[string]any
	if status, body := w.get(w.issuer + "/.well-known/oauth-authorization-server"); status != http.StatusOK || json.Unmarshal([]byte(body), &doc) != nil {
		w.t.Fatalf("metadata: %d %s", status, body)
	}
	return doc
}

// connect opens an MCP session as the agent.
func (w *world) connect(raw string) *mcp.ClientSession {
	w.t.Helper()
	client := w.client()
	client.Transport = bearer{client.Transport, raw}
	return w.connectBy(client)
}

// connectBy opens an MCP session by a client that has its token.
func (w *world) connectBy(client *http.Client) *mcp.ClientSession {
	w.t.Helper()
	return w.connectAt(client, w.issuer)
}

// connectAt is connectBy at another origin of the server.
func (w *world) connectAt(client *http.Client, origin string) *mcp.ClientSession {
	w.t.Helper()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(w.t.Context(),
		&mcp.StreamableClientTransport{Endpoint: origin + "/mcp/mail", HTTPClient: client, DisableStandaloneSSE: true}, nil)
	if err != nil {
		w.t.Fatalf("connect: %v", err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

type bearer struct {
	http.RoundTripper
	token string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.RoundTripper.RoundTrip(r)
}
