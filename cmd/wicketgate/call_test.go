package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

const (
	servedID  = "spiffe://example.org/wicketgate"
	mailAgent = "spiffe://example.org/agent/mail"

	otherHost = "other.example.com" // leads to the server, whose certificate is not for it

	withSVID       = "listen: 127.0.0.1:0\ntls: {svid: true}\n"
	withMutualSVID = "mutual_tls: {listen: \"127.0.0.1:0\", url: \"" + mutualURL + "\", svid: true}\n"

	withCallers = `
clients:
  - {id: "spiffe://example.org/agent/*", auth_method: spiffe, grant_types: [client_credentials, "` + oauth.GrantTokenExchange + `"], acts_for: [host]}
  - {id: host, secret_file: agent.secret, grant_types: ["` + oauth.GrantJWTBearer + `"]}
trusted_issuers:
  - {issuer: https://idp.example.com, jwks_file: idp.json, subject_prefix: corp/, id_jag: true}
`
)

// callWorld is a world behind a proxy, which finds it by its names, and the Workload
// APIs of its gateway and of an agent.
type callWorld struct {
	*world
	domain         *spiffetest.Domain
	gateway, agent *spiffetest.WorkloadAPI
	idp            assertions
	environment    environment
	stop           func() int // ends the server: its log is then whole
	seen           callTokens
}

// callTokens keeps the claims of the call tokens that the mail server got for tools.
type callTokens struct {
	t   *testing.T
	mu  sync.Mutex // guards all
	all []map[string]any
}

func (c *callTokens) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, raw, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
			if claims := claimsOf(c.t, raw); strings.HasPrefix(claims["scope"].(string), "tool:") {
				c.mu.Lock()
				c.all = append(c.all, claims)
				c.mu.Unlock()
			}
		}
		h.ServeHTTP(w, r)
	})
}

// take is the one since the last time.
func (c *callTokens) take() map[string]any {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) != 1 {
		c.t.Fatalf("%d calls arrived", len(c.all))
	}
	claims := c.all[0]
	c.all = nil
	return claims
}

// newCallWorld serves with the listeners of the configuration, in which the edits replace
// one text by the next.
func newCallWorld(t *testing.T, listeners string, edits ...string) *callWorld {
	t.Helper()
	w := &callWorld{domain: spiffetest.NewDomain(t, "example.org"), idp: newAssertions(t), seen: callTokens{t: t}}
	w.world = newWorld(t, w.seen.around)
	named := w.domain.X509(t, servedID, func(c *x509.Certificate) { c.DNSNames = []string{serveHost} })
	w.gateway = spiffetest.Serve(t, spiffetest.State{SVIDs: []tls.Certificate{named}, Domains: []*spiffetest.Domain{w.domain}})
	w.agent = spiffetest.Serve(t, w.is(mailAgent))
	w.write("idp.json", w.idp.keySet())
	w.write("system.pem", readText(t, w.dir+"/cert.pem")) // the authorities of the agent's system
	if !strings.Contains(listeners, "cert.pem") {
		w.write("cert.pem", inPEM(w.domain.CA)) // those of the test's own clients
	}
	w.write("access.yaml", `version: 1
roles:
  mail:
    who: {clients: ["`+mailAgent+`"], users: [corp/alice]}
    servers:
      mail: {tools: [list_messages, read_message, send_message]}
`)
	config := w.config(listeners + "spiffe: {workload_api: \"" + w.gateway.Address() + "\", trust_domains: [{name: example.org}]}\n" + withCallers)
	w.write("wicketgate.yaml", strings.NewReplacer(edits...).Replace(readText(t, config)))
	w.stop = w.start(config)
	w.environment = append(os.Environ(), "SSL_CERT_FILE="+w.dir+"/system.pem", "SSL_CERT_DIR="+t.TempDir(), "SPIFFE_ENDPOINT_SOCKET="+w.agent.Address(),
		issuerEnv+"="+serveIssuer, "HTTPS_PROXY="+w.proxied())
	return w
}

// is what a Workload API says to that workload.
func (w *callWorld) is(id string) spiffetest.State {
	return isWorkload(w.t, w.domain, id)
}

func isWorkload(t *testing.T, d *spiffetest.Domain, id string) spiffetest.State {
	return spiffetest.State{SVIDs: []tls.Certificate{d.X509(t, id)}, Domains: []*spiffetest.Domain{d}}
}

// proxied starts an HTTP proxy (RFC 9110 §9.3.6) that leads to the listeners.
func (w *callWorld) proxied() string {
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		address, ok := map[string]string{serveHost + ":443": w.front, serveHost + ":8443": w.mutual, otherHost + ":443": w.front}[r.Host]
		if !ok || r.Method != http.MethodConnect {
			http.Error(rw, "unknown", http.StatusBadGateway)
			return
		}
		out, err := net.Dial("tcp", address)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		defer out.Close()
		rw.WriteHeader(http.StatusOK)
		in, buffered, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			w.t.Error(err)
			return
		}
		defer in.Close()
		go io.Copy(out, buffered)
		_, _ = io.Copy(in, out)
	}))
	w.t.Cleanup(proxy.Close)
	return proxy.URL
}

// called is what wicketgate call said.
type called struct {
	out, err string
	code     int
}

// call calls as the agent.
func (w *callWorld) call(stdin string, args ...string) called {
	w.t.Helper()
	return w.environment.begin(w.t, stdin, args...).end()
}

// environment is that of processes which have nothing but the socket of an agent.
type environment []string

// callProcess is wicketgate call in a process of its own.
type callProcess struct {
	t           *testing.T
	cmd         *exec.Cmd
	out, stderr *lockedBuffer
}

func (e environment) begin(t *testing.T, stdin string, args ...string) callProcess {
	t.Helper()
	p := callProcess{t, exec.CommandContext(t.Context(), "wicketgate", append([]string{"call", "--spiffe"}, args...)...), newLog(), newLog()}
	p.cmd.Env, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = e, strings.NewReader(stdin), p.out, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p callProcess) end() called {
	p.t.Helper()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return called{p.out.String(), p.stderr.String(), p.cmd.ProcessState.ExitCode()}
}

// alice gets an access token for her from the IdP, as the client host.
func (w *callWorld) alice() string {
	w.t.Helper()
	assertion := w.idp.says("oauth-id-jag+jwt", map[string]any{"iss": "https://idp.example.com", "sub": "alice", "aud": serveIssuer, "client_id": "host",
		"resource": serveIssuer + "/mcp/mail", "scope": "mcp:tools"})
	raw, refused := tokenIn(w.post(w.client(), serveIssuer+"/oauth2/token", url.Values{"grant_type": {oauth.GrantJWTBearer}, "assertion": {assertion}, "resource": {serveIssuer + "/mcp/mail"}}, "host", agentSecret))
	if raw == "" {
		w.t.Fatal(refused)
	}
	return raw
}

// TestAgentWithNothingButASocketCallsATool: in each deployment, by the SVID that is
// chosen there, and both SVIDs are the same to the server behind.
func TestAgentWithNothingButASocketCallsATool(t *testing.T) {
	serverID := []string{"--server-spiffe-id", servedID}
	for name, tt := range map[string]struct {
		listeners string
		methods   map[string][]string // flags by the method that they lead to
	}{
		"Web PKI": {withTLS + withMutualTLS, map[string][]string{oauth.AuthSPIFFEX509: nil, oauth.AuthSPIFFEJWT: {"--svid", "jwt"}}},
		"Web PKI for browsers, an SVID for workloads": {withTLS + withMutualSVID,
			map[string][]string{oauth.AuthSPIFFEX509: serverID, oauth.AuthSPIFFEJWT: {"--svid", "jwt"}}},
		"SVIDs":            {withSVID + withMutualSVID, map[string][]string{oauth.AuthSPIFFEX509: serverID, oauth.AuthSPIFFEJWT: append([]string{"--svid", "jwt"}, serverID...)}},
		"no mutual TLS":    {withTLS, map[string][]string{oauth.AuthSPIFFEJWT: nil}},
		"one SVID for all": {withSVID, map[string][]string{oauth.AuthSPIFFEJWT: serverID}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is that of ending HTTP/2 connections in order
			w := newCallWorld(t, tt.listeners)
			for method, flags := range tt.methods {
				for who, want := range map[string]map[string]any{
					"":        {"sub": mailAgent, "client_id": gatewayID.String(), "scope": "tool:list_messages"},
					w.alice(): {"sub": "corp/alice", "client_id": gatewayID.String(), "scope": "tool:list_messages", "act": actors(mailAgent, "host")},
				} {
					args := append([]string{"mail", "list_messages", "--arg", "limit=2", "-v"}, flags...)
					if who != "" {
						args = append(args, "--subject-token-file", "-")
					}
					got := w.call(who, args...)
					if got.code != 0 || !strings.Contains(got.out, "Gale warning") || !strings.Contains(got.err, " method="+method+" ") {
						t.Fatalf("%s: %+v", method, got)
					}
					if strings.Contains(w.log.String(), "handshake error") {
						t.Errorf("%s: operators are warned: %s", method, w.log.with("handshake error"))
					}
					if strings.Contains(got.err+got.out, "eyJ") {
						t.Errorf("%s: a token is printed: %s%s", method, got.err, got.out)
					}
					claims := w.seen.take()
					if txn, _ := claims["txn"].(string); txn == "" || !strings.Contains(got.err, " txn="+txn) {
						t.Errorf("%s: the log does not say the transaction %q: %s", method, txn, got.err)
					}
					if diff := cmp.Diff(want, only(claims, "sub", "client_id", "scope", "act")); diff != "" {
						t.Errorf("%s (-want +got):\n%s", method, diff)
					}
				}
			}
		})
	}
}

// actors is a chain of act (RFC 8693 §4.1), the newest first.
func actors(names ...string) (chain map[string]any) {
	for _, name := range slices.Backward(names) {
		next := map[string]any{"iss": serveIssuer, "sub": name, "client_id": name}
		if chain != nil {
			next["act"] = chain
		}
		chain = next
	}
	return chain
}

func only(claims map[string]any, names ...string) map[string]any {
	out := maps.Clone(claims)
	maps.DeleteFunc(out, func(name string, _ any) bool { return !slices.Contains(names, name) })
	return out
}
