package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

// TestImpostorGetsNothing: who does not prove to be the server gets no SVID, no token and
// no call. The server's own log has all that came.
func TestImpostorGetsNothing(t *testing.T) {
	proved := []string{"--server-spiffe-id", servedID}
	byJWT := []string{"--svid", "jwt"}
	none := func(*callWorld) {}
	for name, tt := range map[string]struct {
		listeners string
		change    func(*callWorld)
		args      []string
		want      string
	}{
		"another workload of the trust domain": {withSVID + withMutualSVID, none, []string{"--server-spiffe-id", servedID + "s"}, "the server is " + servedID},
		"another workload, by JWT-SVID":        {withSVID + withMutualSVID, none, append(byJWT, "--server-spiffe-id", servedID+"s"), "the server is " + servedID},
		"the same ID of another authority": {withSVID + withMutualSVID, func(w *callWorld) {
			twin := spiffetest.NewDomain(w.t, "example.org")
			w.agent.Set(spiffetest.State{SVIDs: w.is(mailAgent).SVIDs, Domains: []*spiffetest.Domain{twin}})
		}, proved, "the server did not prove to be " + servedID},
		"any SVID, where Web PKI is due":                  {withSVID + withMutualSVID, none, nil, "tls: failed to verify certificate"},
		"an SVID that the system believes, for browsers":  {withTLS + withMutualSVID, func(w *callWorld) { w.write("system.pem", inPEM(w.domain.CA)) }, proved, "certificate signed by unknown authority; an authority of your own goes into a file that SSL_CERT_FILE names\n"},
		"Web PKI, where an SVID is due":                   {withTLS + withMutualTLS, none, proved, "its certificate is no X.509-SVID"},
		"Web PKI, where an SVID is due, by JWT-SVID":      {withTLS + withMutualSVID, none, append(byJWT, proved...), "its certificate is no X.509-SVID"},
		"a certificate for another name":                  {withTLS, none, []string{"--issuer", "https://" + otherHost}, "certificate is valid for " + serveHost + ", not " + otherHost},
		"a certificate for another name, beside an SVID":  {withTLS + withMutualSVID, none, append([]string{"--issuer", "https://" + otherHost}, proved...), "certificate is valid for " + serveHost + ", not " + otherHost},
		"a certificate of an authority that is not known": {withTLS, func(w *callWorld) { w.write("system.pem", inPEM(w.domain.CA)) }, nil, "certificate signed by unknown authority; an authority of your own goes into a file that SSL_CERT_FILE names\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is that of ending HTTP/2 connections in order
			w := newCallWorld(t, tt.listeners)
			tt.change(w)
			got := w.call(w.alice(), append([]string{"mail", "list_messages", "--subject-token-file", "-"}, tt.args...)...)
			if got.code != 1 || !strings.Contains(got.err, tt.want) {
				t.Errorf("%+v, want %q", got, tt.want)
			}
			w.stop()
			if log := w.log.String(); strings.Count(log, `"path":"/oauth2/token"`) != 1 || strings.Contains(log, `"path":"/mcp/`) { // the one was alice's
				t.Errorf("something was sent:\n%s", log)
			}
		})
	}
}

// TestTokenThatIsBoundToTheCertificate is presented over connections with the same one.
func TestTokenThatIsBoundToTheCertificate(t *testing.T) {
	w := newCallWorld(t, withTLS+withMutualTLS, "acts_for: [host]", "tls_client_certificate_bound_access_tokens: true", `/mcp"}`, `/mcp", sender_constrained: true}`)
	if got := w.call("", "mail", "list_messages"); got.code != 0 || !strings.Contains(got.out, "Gale warning") {
		t.Errorf("%+v", got)
	}
	if got := w.call("", "mail", "list_messages", "--svid", "jwt"); got.code != 1 {
		t.Errorf("without a certificate: %+v", got)
	}
}

// misleading is a server on this machine whose documents are as somebody else would like
// them, and one elsewhere that waits for what they lead to.
type misleading struct {
	url, elsewhere string
	got, stolen    atomic.Int32 // requests at the token endpoint and the resource; and elsewhere
}

type object = map[string]any

// newMisleading serves good documents with the edits, and a token endpoint.
func newMisleading(t *testing.T, resource, as func(*misleading) object, token http.HandlerFunc) *misleading {
	m := &misleading{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { m.stolen.Add(1) }))
	t.Cleanup(elsewhere.Close)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	m.url, m.elsewhere = server.URL, elsewhere.URL
	document := func(doc object, edit func(*misleading) object) http.HandlerFunc {
		if edit != nil {
			maps.Copy(doc, edit(m))
		}
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(doc) }
	}
	mux.Handle("/.well-known/oauth-protected-resource/mcp/mail", document(object{"resource": m.url + "/mcp/mail", "authorization_servers": []string{m.url}}, resource))
	mux.Handle("/.well-known/oauth-authorization-server", document(object{"issuer": m.url, "token_endpoint": m.url + "/token", "token_endpoint_auth_methods_supported": []string{"spiffe_jwt", "spiffe_x509"}}, as))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		m.got.Add(1)
		if token != nil {
			token(w, r)
		}
	})
	return m
}

// TestCallIsNotMisled by what a server says of where tokens come from and go to.
func TestCallIsNotMisled(t *testing.T) {
	agent := spiffetest.Serve(t, isWorkload(t, spiffetest.NewDomain(t, "example.org"), mailAgent))
	away := func(w http.ResponseWriter, r *http.Request, m *misleading) {
		http.Redirect(w, r, m.elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
	}
	var m *misleading
	for name, tt := range map[string]struct {
		resource, as func(*misleading) object
		token        http.HandlerFunc
		args         []string
		got          int32
		want         string
	}{
		"of another resource":          {resource: func(m *misleading) object { return object{"resource": m.elsewhere + "/mcp/mail"} }, want: " describes "},
		"another authorization server": {resource: func(m *misleading) object { return object{"authorization_servers": []string{m.elsewhere}} }, want: "takes no tokens of --issuer"},
		"no authorization server":      {resource: func(*misleading) object { return object{"authorization_servers": nil} }, want: "takes no tokens of --issuer"},
		"of another issuer":            {as: func(m *misleading) object { return object{"issuer": m.url + "/"} }, want: "is of the issuer"},
		"in the clear": {as: func(*misleading) object { return object{"token_endpoint": "http://192.0.2.1/token"} },
			want: "tokens would cross the network in the clear"},
		"no URL":                 {as: func(*misleading) object { return object{"token_endpoint": ""} }, want: "is no https URL"},
		"no SVIDs":               {as: func(*misleading) object { return object{"token_endpoint_auth_methods_supported": []string{"none"}} }, want: "does not take spiffe_jwt: its methods are [\"none\"]"},
		"more than anybody says": {as: func(*misleading) object { return object{"x": strings.Repeat("x", maxDocument)} }, want: "answers with more than "},
		"an X.509-SVID in the clear": {as: func(m *misleading) object {
			return object{"mtls_endpoint_aliases": object{"token_endpoint": m.url + "/token"}}
		},
			want: "is plain http, and an X.509-SVID is for mutual TLS"},
		"an X.509-SVID, as it was asked for": {args: []string{"--svid", "x509"}, want: "is plain http, and an X.509-SVID is for mutual TLS"},
		"where nobody proves anything":       {args: []string{"--server-spiffe-id", servedID}, want: "is plain http, where nobody proves to be " + servedID},
		"a token endpoint that sends away":   {token: func(w http.ResponseWriter, r *http.Request) { away(w, r, m) }, got: 1, want: "it answers with HTTP 307"},
		"a resource that sends away": {token: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/token" {
				away(w, r, m)
				return
			}
			_, _ = w.Write([]byte(`{"access_token":"x","token_type":"Bearer"}`))
		}, got: 3, want: "Temporary Redirect"},
		"a token of another type": {token: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"access_token":"x","token_type":"DPoP"}`))
		}, got: 1, want: `a token of the type "DPoP"`},
		"what a terminal would obey": {token: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_scope","error_description":"\u001b[2J"}`))
		}, got: 1, want: `it answers "invalid_scope", "\x1b[2J"; `},
	} {
		t.Run(name, func(t *testing.T) {
			m = newMisleading(t, tt.resource, tt.as, tt.token)
			env := environment(append(os.Environ(), "SPIFFE_ENDPOINT_SOCKET="+agent.Address(), issuerEnv+"="+m.url))
			got := env.begin(t, "a.person's.token", append([]string{"mail", "list_messages", "--subject-token-file", "-"}, tt.args...)...).end()
			if got.code != 1 || !strings.Contains(got.err, tt.want) {
				t.Errorf("%+v, want %q", got, tt.want)
			}
			if m.got.Load() != tt.got || m.stolen.Load() != 0 {
				t.Errorf("%d requests with something in them, %d elsewhere", m.got.Load(), m.stolen.Load())
			}
		})
	}
}

// TestPersonsTokenGoesOnlyWhereItMay: a resource could name any authorization server.
func TestPersonsTokenGoesOnlyWhereItMay(t *testing.T) {
	agent := spiffetest.Serve(t, isWorkload(t, spiffetest.NewDomain(t, "example.org"), mailAgent))
	m := newMisleading(t, nil, nil, nil)
	env := environment(append(os.Environ(), "SPIFFE_ENDPOINT_SOCKET="+agent.Address(), issuerEnv+"="))
	args := []string{m.url + "/mcp/mail", "list_messages"}
	if got := env.begin(t, "a.person's.token", append(args, "--subject-token-file", "-")...).end(); got.code != 1 || m.got.Load() != 0 || !strings.Contains(got.err, "say by --issuer which authorization server may see the person's token") {
		t.Errorf("%d requests, %+v", m.got.Load(), got)
	}
	if got := env.begin(t, "", args...).end(); got.code != 1 || m.got.Load() != 1 {
		t.Errorf("for itself: %d requests, %+v", m.got.Load(), got)
	}
}
