package e2e_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/wicketgate/wicketgate/internal/demomail"
	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/remote"
	"github.com/wicketgate/wicketgate/internal/spiretest"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/metadata"
)

// Users of the workloads. The processes of one user are one workload; those of the test
// are the mail server and, where a test says so, an agent.
const (
	gateUser   = 20000
	mailAgent  = 20001
	reportUser = 20002
	strayUser  = 20003
)

const (
	gateID   = "spiffe://example.org/wicketgate"
	mailID   = "spiffe://example.org/mcp/mail"
	agentID  = "spiffe://example.org/agent/test"
	senderID = "spiffe://example.org/agent/mail"
	readerID = "spiffe://example.org/agent/report"
)

// spire is a real SPIRE server with its agent.
type spire struct {
	*spiretest.Server
	agent *spiretest.Agent
}

func newSPIRE(t *testing.T, c spiretest.Config) *spire {
	t.Helper()
	s := spiretest.Start(t, c)
	return &spire{s, s.StartAgent(t)}
}

// register makes entries, and waits until the agent knows them.
func (s *spire) register(t *testing.T, entries ...spiretest.Entry) (ids []string) {
	t.Helper()
	of := map[int][]string{}
	for _, e := range entries {
		ids = append(ids, s.CreateEntry(t, e))
		uid := os.Getuid()
		if len(e.Selectors) > 0 {
			if _, err := fmt.Sscanf(e.Selectors[0], "unix:uid:%d", &uid); err != nil {
				t.Fatal(err)
			}
		}
		of[uid] = append(of[uid], e.ID)
	}
	for uid, names := range of {
		s.agent.WaitForSVIDs(t, uid, names...)
	}
	return ids
}

// gate is the entry of Wicketgate itself.
func gate(ttl time.Duration, federatesWith ...string) spiretest.Entry {
	return spiretest.Entry{ID: gateID, Selectors: []string{spiretest.User(gateUser)}, X509TTL: ttl, FederatesWith: federatesWith}
}

// spiffeHouse is a wicketgate serve with an SVID, as a user of its own.
type spiffeHouse struct {
	*replica
	spire  *spire
	mutual string // URL of the listener for workloads
	admin  string // URL of that for operators
}

// withMail is an access.yaml: every agent may list and read, and one may send.
const withMail = `version: 1
roles:
  reader:
    who: {clients: ["spiffe://example.org/agent/*"]}
    servers: {mail: {tools: [list_messages, read_message]}}
  sender:
    who: {clients: [` + senderID + `]}
    servers: {mail: {tools: [send_message]}}
`

// startSPIFFE starts wicketgate serve with the demo mail server behind it. With a source
// the two speak mutual TLS. The rest of the configuration follows, and files are beside it.
func startSPIFFE(t *testing.T, s *spire, source *workloadapi.X509Source, config string, files map[string]string) *spiffeHouse {
	t.Helper()
	return startSPIFFEAt(t, s, spiffeSetup{listen: freeport.Address(t), source: source, config: config, files: files})
}

// spiffeSetup is what may differ.
type spiffeSetup struct {
	listen string
	source *workloadapi.X509Source // of the mail server; nil: it speaks plain HTTP
	config string                  // the rest of the configuration
	files  map[string]string       // beside it
	env    []string                // besides that of the tests

	issuer string   // empty: at listen
	user   int      // 0: gateUser
	mail   string   // what to say of a mail server that was started before; empty: none was
	args   []string // of serve
}

// startSPIFFEAt is startSPIFFE with everything.
func startSPIFFEAt(t *testing.T, s *spire, c spiffeSetup) *spiffeHouse {
	t.Helper()
	if c.issuer == "" {
		c.issuer = "http://" + c.listen
	}
	if c.mail == "" {
		c.mail = startMail(t, c.issuer, c.source, gateID)
	}
	mutual, admin := freeport.Address(t), freeport.Address(t)
	h := &spiffeHouse{spire: s, mutual: "https://" + mutual, admin: "http://" + admin}
	all := map[string]string{"access.yaml": withMail}
	maps.Copy(all, c.files)
	all["wicketgate.yaml"] = `issuer: ` + c.issuer + `
listen: ` + c.listen + `
admin: {listen: "` + admin + `"}
data: data
policy: access.yaml
trust: first-use
log: {level: debug}
mutual_tls: {listen: "` + mutual + `", url: "` + h.mutual + `", svid: true}
servers:
  - {name: mail, ` + c.mail + `}
` + c.config
	h.replica = newServe(t, c.listen, all)
	h.moveTo(t, cmp.Or(c.user, gateUser))
	h.env, h.args = c.env, c.args
	h.replica.start(t)
	h.url = c.issuer
	return h
}

// loopback is where everything here listens.
var loopback = net.IPv4(127, 0, 0, 1)

// publicDir is a folder that other users can read.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wicketgate-public-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// refusals counts those with the reason in the audit log.
func (h *spiffeHouse) refusals(t *testing.T, reason string) (n int) {
	t.Helper()
	for text := range strings.Lines(readFile(t, h.auditFile())) {
		var l struct {
			Kind, Reason string
			Count        int
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if l.Kind == "refusal" && l.Reason == reason {
			n += max(l.Count, 1)
		}
	}
	return n
}

// moveTo makes everything a user's own, who is to run it.
func (h *spiffeHouse) moveTo(t *testing.T, user int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wicketgate-spiffe-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	names, err := filepath.Glob(filepath.Join(h.dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		to := filepath.Join(dir, filepath.Base(name))
		if err := errors.Join(os.WriteFile(to, []byte(readFile(t, name)), 0o600), os.Chown(to, user, user)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, user, user); err != nil {
		t.Fatal(err)
	}
	h.dir, h.config, h.user = dir, filepath.Join(dir, "wicketgate.yaml"), user
}

// startMail starts the demo mail server and returns what the configuration says of it.
// With a source it speaks mutual TLS, with that gateway alone.
func startMail(t *testing.T, issuer string, source *workloadapi.X509Source, gateway string) string {
	t.Helper()
	mail := httptest.NewUnstartedServer(nil)
	resource := "http://" + mail.Listener.Addr().String() + "/mcp"
	if source != nil {
		resource = strings.Replace(resource, "http", "https", 1)
	}
	mail.Config.Handler = demomail.New(demomail.Config{Resource: resource, Issuer: issuer, Log: slog.New(slog.DiscardHandler), Verifier: token.NewVerifier(token.VerifierConfig{
		Issuer: issuer, Keys: remote.NewKeys(issuer+metadata.PathJWKS, nil, time.Now), Now: time.Now})})
	t.Cleanup(mail.Close)
	if source == nil {
		mail.Start()
		return `url: "` + resource + `"`
	}
	mail.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	own := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(spiffeid.RequireFromString(gateway)))
	mail.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return own, nil }}
	mail.StartTLS()
	return `url: "` + resource + `", spiffe_id: ` + mailID
}

// ready is what the operators' listener says of SPIFFE.
func (h *spiffeHouse) ready(t *testing.T) (status int, warning, failure string) {
	t.Helper()
	resp, body := send(t, http.MethodGet, h.admin+"/readyz", nil, "")
	var said struct {
		Checks []struct{ Name, Warning, Error string }
	}
	if err := json.Unmarshal(body, &said); err != nil {
		t.Fatalf("readyz: %v: %s", err, body)
	}
	for _, c := range said.Checks {
		if c.Name == "spiffe" {
			return resp.StatusCode, c.Warning, c.Error
		}
	}
	t.Fatalf("readyz says nothing of SPIFFE: %s", body)
	return 0, "", ""
}

// eventually waits for what only the other process knows.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := deadline(t)
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// sourceOf watches the Workload API as the workload of the test's own process that has
// the ID.
func sourceOf(t *testing.T, s *spire, id string) *workloadapi.X509Source {
	t.Helper()
	pick := func(svids []*x509svid.SVID) *x509svid.SVID {
		for _, svid := range svids {
			if svid.ID.String() == id {
				return svid
			}
		}
		return nil
	}
	source, err := workloadapi.NewX509Source(deadline(t), workloadapi.WithClientOptions(workloadapi.WithAddr(s.agent.Socket)), workloadapi.WithDefaultX509SVIDPicker(pick))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	return source
}

// jwtSVID fetches a JWT-SVID for the audience, as that workload of the test's process.
func (s *spire) jwtSVID(t *testing.T, id, audience string) (*jwtsvid.SVID, error) {
	t.Helper()
	return workloadapi.FetchJWTSVID(deadline(t), jwtsvid.Params{Audience: audience, Subject: spiffeid.RequireFromString(id)}, workloadapi.WithAddr(s.agent.Socket))
}

// byCertificate is a client that shows a certificate, and looks at no server's.
func byCertificate(c tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{c}, InsecureSkipVerify: true}}}
}

// credentials is a request for the mail server, with further parameters.
func (h *spiffeHouse) credentials(further ...string) url.Values {
	form := url.Values{"grant_type": {oauth.GrantClientCredentials}, "resource": {h.resource()}}
	for i := 0; i < len(further); i += 2 {
		form.Set(further[i], further[i+1])
	}
	return form
}

// byJWT is a request with a JWT-SVID.
func (h *spiffeHouse) byJWT(t *testing.T, raw string, further ...string) tokenAnswer {
	t.Helper()
	return ask(t, http.DefaultClient, h.url+"/oauth2/token", h.credentials(append([]string{"client_assertion_type", oauth.AssertionJWTSPIFFE, "client_assertion", raw}, further...)...))
}

// byX509 is a request with an X.509-SVID.
func (h *spiffeHouse) byX509(t *testing.T, c tls.Certificate, clientID string) tokenAnswer {
	t.Helper()
	return ask(t, byCertificate(c), h.mutual+"/oauth2/token", h.credentials("client_id", clientID))
}

func ask(t *testing.T, client *http.Client, at string, form url.Values) (a tokenAnswer) {
	t.Helper()
	resp, err := client.PostForm(at, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, json.Unmarshal(b, &a)); err != nil {
		t.Fatalf("%s: %s: %v: %s", at, resp.Status, err, b)
	}
	a.Status = resp.StatusCode
	return a
}

// callAs runs wicketgate call as the processes of a user do.
func (h *spiffeHouse) callAs(t *testing.T, uid int, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"call"}, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"SPIFFE_ENDPOINT_SOCKET=" + h.spire.agent.Socket, "WICKETGATE_ISSUER=" + h.url}
	spiretest.As(t, cmd, uid)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), out.String(), errs.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out.String(), errs.String()
}

// pair is an X.509-SVID as package tls has it.
func pair(svid *x509svid.SVID) tls.Certificate {
	c := tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, cert := range svid.Certificates {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}
