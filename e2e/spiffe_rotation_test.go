package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/wicketgate/wicketgate/internal/spiretest"
)

const rotations = 4 // of each SVID, while calls are made

// svidLine is what the log of Wicketgate says each time that it has a new SVID.
const svidLine = "msg=X.509-SVID"

// TestRotationLosesNoCall: the SVIDs of the agent, of Wicketgate and of the mail server
// change every few seconds, while eight agents at once get tokens by mutual TLS and call.
func TestRotationLosesNoCall(t *testing.T) {
	t.Parallel()
	s := newSPIRE(t, spiretest.Config{})
	s.register(t, gate(shortLived), spiretest.Entry{ID: mailID, X509TTL: shortLived}, spiretest.Entry{ID: agentID, X509TTL: shortLived})
	h := startSPIFFE(t, s, sourceOf(t, s, mailID), s.config(withAgents), nil)
	load(t, h, sourceOf(t, s, agentID), []string{gateID}, h)
}

const shortLived = 16 * time.Second // SPIRE renews such an SVID every two or three

// load has eight agents at once get tokens from h by mutual TLS, and call at the last of
// the processes, until their SVID and those of all the processes have changed a few times.
// Not one call may fail.
func load(t *testing.T, h *spiffeHouse, source *workloadapi.X509Source, servers []string, processes ...*spiffeHouse) {
	t.Helper()
	var renewed atomic.Int64
	ctx := deadline(t)
	go func() {
		for {
			select {
			case <-source.Updated():
				renewed.Add(1)
			case <-ctx.Done():
				return
			}
		}
	}()
	began := map[*spiffeHouse]int{}
	for _, p := range processes {
		began[p] = strings.Count(p.stderr.String(), svidLine)
	}
	enough := func() bool {
		for p, n := range began {
			if strings.Count(p.stderr.String(), svidLine)-n < rotations {
				return false
			}
		}
		return renewed.Load() >= rotations
	}
	gateway := processes[len(processes)-1]
	var calls atomic.Int64
	var agents sync.WaitGroup
	for range 8 {
		agents.Go(func() {
			a := &loadAgent{h: h, gateway: gateway, client: clientOf(source, servers...)}
			for !enough() && ctx.Err() == nil {
				if err := a.call(ctx); err != nil {
					t.Errorf("call %d: %v", calls.Load()+1, err)
					return
				}
				calls.Add(1)
			}
		})
	}
	agents.Wait()
	if !enough() {
		t.Errorf("too few rotations, %d of the agent's SVID", renewed.Load())
	}
	if n := strings.Count(readFile(t, gateway.auditFile()), `"outcome"`); int64(n) < calls.Load() {
		t.Errorf("%d outcomes in the audit log for %d calls", n, calls.Load())
	}
	t.Logf("%d calls, %d rotations of the agent's SVID", calls.Load(), renewed.Load())
}

// clientOf speaks mutual TLS as the workload of the source, and with those servers alone.
func clientOf(source *workloadapi.X509Source, servers ...string) *http.Client {
	var ids []spiffeid.ID
	for _, server := range servers {
		ids = append(ids, spiffeid.RequireFromString(server))
	}
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeOneOf(ids...))
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, IdleConnTimeout: 2 * time.Second}}
}

// loadAgent gets a token by its SVID for every few calls.
type loadAgent struct {
	h       *spiffeHouse
	gateway *spiffeHouse // the same for one process
	client  *http.Client
	left    int // calls with this token
	token   string
	mcp     *mcp.ClientSession
}

func (a *loadAgent) call(ctx context.Context) error {
	if a.left == 0 {
		if err := a.authenticate(ctx); err != nil {
			return err
		}
	}
	a.left--
	result, err := a.mcp.CallTool(ctx, &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{"limit": 1}})
	if err == nil && result.IsError {
		err = errors.New(contentText(result))
	}
	return err
}

// authenticate asks on a new connection each time, so that handshakes are under load, too.
func (a *loadAgent) authenticate(ctx context.Context) error {
	a.client.CloseIdleConnections()
	form := a.h.credentials("client_id", agentID)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.h.mutual+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w: %s", resp.Status, err, b)
	}
	var answer tokenAnswer
	if err := json.Unmarshal(b, &answer); err != nil {
		return err
	}
	a.token, a.left = answer.AccessToken, 5
	if a.mcp != nil {
		return nil // a session is its subject's and client's, whatever the token
	}
	a.mcp, err = mcp.NewClient(&mcp.Implementation{Name: "load", Version: "1"}, nil).Connect(ctx, &mcp.StreamableClientTransport{Endpoint: a.gateway.mutual + "/mcp/mail", HTTPClient: &http.Client{Transport: a}, DisableStandaloneSSE: true}, nil)
	return err
}

// RoundTrip implements http.RoundTripper with the token of the moment.
func (a *loadAgent) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+a.token)
	return a.client.Transport.RoundTrip(r)
}

// TestSPIREIsDown: what there is works until it expires, then new connections fail
// closed, and /readyz says so. It goes on by itself when SPIRE is back.
func TestSPIREIsDown(t *testing.T) {
	t.Parallel()
	t.Run("agent", func(t *testing.T) {
		t.Parallel()
		testDown(t, func(s *spire) { s.agent.Stop() }, func(s *spire) { s.agent.Restart(t) }, func(h *spiffeHouse) {
			eventually(t, "a warning", func() bool { _, warning, _ := h.ready(t); return warning != "" })
			status, warning, _ := h.ready(t)
			if status != http.StatusOK || !strings.Contains(warning, h.spire.agent.Socket) || !strings.Contains(warning, "our X.509-SVID is good until") {
				t.Errorf("readyz while our SVID is good: %d, %q", status, warning)
			}
		})
	})
	t.Run("server", func(t *testing.T) { // of which the agent says nothing: it goes on with what it has, and beyond
		t.Parallel()
		testDown(t, func(s *spire) { s.Stop() }, func(s *spire) { s.Restart(t) }, func(*spiffeHouse) {})
	})
}

func testDown(t *testing.T, stop, start func(*spire), whileGood func(*spiffeHouse)) {
	t.Helper()
	s := newSPIRE(t, spiretest.Config{})
	s.register(t, gate(12*time.Second), spiretest.Entry{ID: mailID}, spiretest.Entry{ID: agentID})
	h := startSPIFFE(t, s, sourceOf(t, s, mailID), s.config(withAgents), nil)
	svid, err := sourceOf(t, s, agentID).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := s.jwtSVID(t, agentID, h.url)
	if err != nil {
		t.Fatal(err)
	}
	cert := pair(svid)
	if status, warning, failure := h.ready(t); status != http.StatusOK || warning+failure != "" {
		t.Errorf("readyz: %d, warning %q, error %q", status, warning, failure)
	}
	stop(s)
	whileGood(h)
	x509, byJWT := h.byX509(t, cert, agentID), h.byJWT(t, jwt.Marshal())
	if x509.AccessToken == "" || byJWT.AccessToken == "" {
		t.Fatalf("while our SVID is good: %+v, %+v", x509, byJWT)
	}
	session := open(t, h.house, x509.AccessToken)
	if resp, body := session.call(t, "list_messages", `{}`); resp.StatusCode != http.StatusOK || strings.Contains(string(body), `"error"`) {
		t.Errorf("a call while our SVID is good: %s %s", resp.Status, body)
	}
	eventually(t, "the end of our SVID", func() bool { status, _, _ := h.ready(t); return status == http.StatusServiceUnavailable })
	if _, _, failure := h.ready(t); !strings.Contains(failure, "our X.509-SVID "+gateID+" expired at") {
		t.Errorf("readyz says %q", failure)
	}
	if _, err := byCertificate(cert).PostForm(h.mutual+"/oauth2/token", url.Values{}); err == nil || !isHandshake(err) {
		t.Errorf("a new connection by mutual TLS: %v, want a failed handshake", err)
	}
	if a := h.byJWT(t, jwt.Marshal()); a.Status != http.StatusServiceUnavailable || a.Error != "temporarily_unavailable" {
		t.Errorf("by a JWT-SVID that has not expired: %+v", a)
	}
	if resp, body := session.call(t, "list_messages", `{}`); resp.StatusCode == http.StatusOK && !strings.Contains(string(body), `"error"`) {
		t.Errorf("a call to a server that is spoken to by mutual TLS: %s", body)
	}
	lines := about(h.audit(t), agentID, "list_messages")
	if last := lines[len(lines)-1]; last.Status == "ok" || !strings.Contains(last.Reason+last.Status, "upstream_unreachable") {
		t.Errorf("the audit log says %+v", last)
	}
	start(s)
	eventually(t, "ready again", func() bool {
		status, warning, failure := h.ready(t)
		return status == http.StatusOK && warning+failure == ""
	})
	if resp, body := session.call(t, "list_messages", `{}`); resp.StatusCode != http.StatusOK || strings.Contains(string(body), `"error"`) {
		t.Errorf("a call when SPIRE is back: %s %s", resp.Status, body)
	}
	if a := h.byX509(t, cert, agentID); a.AccessToken == "" {
		t.Errorf("when SPIRE is back: %+v", a)
	}
}

// isHandshake reports whether the server ended the handshake.
func isHandshake(err error) bool {
	var alert tls.AlertError
	return errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls")
}

// TestServeStartsWithoutSPIRE, since most callers need none; workloads are told to come
// again, and are let in once it is there.
func TestServeStartsWithoutSPIRE(t *testing.T) {
	t.Parallel()
	s := newSPIRE(t, spiretest.Config{})
	s.register(t, gate(0), spiretest.Entry{ID: agentID})
	jwt, err := s.jwtSVID(t, agentID, "http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	s.agent.Stop()
	h := startSPIFFE(t, s, nil, s.config(withAgents), nil)
	if status, _, failure := h.ready(t); status != http.StatusServiceUnavailable || !strings.Contains(failure, "no X.509-SVID yet") {
		t.Errorf("readyz: %d %q", status, failure)
	}
	if a := h.byJWT(t, jwt.Marshal()); a.Error != "temporarily_unavailable" {
		t.Errorf("a workload: %+v", a)
	}
	s.agent.Restart(t)
	eventually(t, "ready", func() bool { status, _, _ := h.ready(t); return status == http.StatusOK })
	svid, err := sourceOf(t, s, agentID).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	if a := h.byX509(t, pair(svid), agentID); a.AccessToken == "" {
		t.Errorf("once SPIRE is there: %+v", a)
	}
}
