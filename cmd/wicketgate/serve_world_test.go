package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
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
	admin  string        // URL of the other
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
func (w *world) start(config string) (stop func() int) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	out, in := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve", "--config", config}, in, w.log)
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
		var l struct{ Msg, Listen, Admin string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "serving" {
			_, port, err := net.SplitHostPort(l.Listen)
			if err != nil {
				w.t.Fatal(err)
			}
			w.front, w.admin = "127.0.0.1:"+port, "http://"+l.Admin
		}
	}
	close(w.served)
}

// client goes to the listener whatever the host, and believes only the
// certificate that is in the folder now.
func (w *world) client() *http.Client {
	w.t.Helper()
	pool := x509.NewCertPool()
	b, err := os.ReadFile(filepath.Join(w.dir, "cert.pem"))
	if err != nil || !pool.AppendCertsFromPEM(b) {
		w.t.Fatalf("certificate: %v", err)
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", w.front)
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
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {w.issuer + "/mcp/mail"}}
	req, err := http.NewRequest(http.MethodPost, w.issuer+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(agentID, agentSecret)
	status, body := w.do(client, req)
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
	resp, err := client.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
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

// connect opens an MCP session as the agent.
func (w *world) connect(raw string) *mcp.ClientSession {
	w.t.Helper()
	client := w.client()
	client.Transport = bearer{client.Transport, raw}
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(w.t.Context(),
		&mcp.StreamableClientTransport{Endpoint: w.issuer + "/mcp/mail", HTTPClient: client, DisableStandaloneSSE: true}, nil)
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

// writePair writes cert.pem and key.pem, each at once, key first.
func writePair(t *testing.T, dir string, serial int64) {
	t.Helper()
	cert, key := newPair(t, serial)
	replaceFile(t, filepath.Join(dir, "key.pem"), key)
	replaceFile(t, filepath.Join(dir, "cert.pem"), cert)
}

func newPair(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: serveHost}, DNSNames: []string{serveHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu      sync.Mutex // guards what follows
	written sync.Cond
	b       bytes.Buffer
}

func newLog() *lockedBuffer {
	l := &lockedBuffer{}
	l.written.L = &l.mu
	return l
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.written.Broadcast()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string { return l.with("") }

// with waits until the log holds the text; another process may be late with it.
func (l *lockedBuffer) with(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !strings.Contains(l.b.String(), text) {
		l.written.Wait()
	}
	return l.b.String()
}
