package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

// TestCallSaysWhatIsWrong, and what to do about it, on stderr and with exit code 1.
func TestCallSaysWhatIsWrong(t *testing.T) {
	w := newCallWorld(t, withTLS+withMutualSVID)
	proved := []string{"--server-spiffe-id", servedID}
	list := append([]string{"mail", "list_messages"}, proved...)
	for name, tt := range map[string]struct {
		id   string // of the agent
		args []string
		want string
	}{
		"an SVID where Web PKI is due":          {mailAgent, []string{"mail", "list_messages"}, "if that is your gateway, add --server-spiffe-id " + servedID + "\n"},
		"Web PKI where an SVID is due":          {mailAgent, append(list, "--svid", "jwt"), "the gateway shows one with tls.svid or, for --svid x509, mutual_tls.svid: true; without --server-spiffe-id Web PKI will do\n"},
		"another server's SVID":                 {mailAgent, []string{"mail", "list_messages", "--server-spiffe-id", mailAgent}, "the server is " + servedID + ", not " + mailAgent},
		"a server of a domain that is not ours": {mailAgent, []string{"mail", "list_messages", "--server-spiffe-id", "spiffe://partner.example/gateway"}, "did not prove to be spiffe://partner.example/gateway, and says that it is " + servedID + ": "},
		"a server that is not there":            {mailAgent, append([]string{"male", "list_messages"}, proved...), "there is no such server: " + serveIssuer + "/.well-known/oauth-protected-resource/mcp/male answers with HTTP 404"},
		"another issuer":                        {mailAgent, append([]string{serveIssuer + "/mcp/mail", "list_messages", "--issuer", "https://as.example"}, proved...), `takes no tokens of --issuer "https://as.example": its authorization servers are ["` + serveIssuer + `"]`},
		"a tool that is not there":              {mailAgent, append([]string{"mail", "list_massages"}, proved...), `it has no tool "list_massages" for ` + mailAgent + ": it is unknown or not allowed; there are list_messages, read_message, send_message\n"},
		"a tool that is not allowed":            {mailAgent, append([]string{"mail", "delete_message", "--arg", "id=1"}, proved...), `it has no tool "delete_message" for ` + mailAgent + ": it is unknown or not allowed"},
		"a value that is no integer":            {mailAgent, append(list, "--arg", "limit=two"), "--arg limit: the tool wants integer there, written as JSON\n"},
		"a value out of bounds":                 {mailAgent, append(list, "--arg", "limit=101"), "it answers \"Invalid arguments for list_messages: "},
		"an argument that is unknown":           {mailAgent, append(list, "--arg", "limits=1"), "it answers \"Invalid arguments for list_messages: "},
		"an error of the tool":                  {mailAgent, append([]string{"mail", "read_message", "--arg", "id=99"}, proved...), "wicketgate: the tool reports an error: "},
		"a workload that is no client":          {"spiffe://example.org/db", list, `it answers "invalid_client", `},
		"a workload without a role":             {mailAgent + "s", list, "it has no tool for " + mailAgent + "s: no role in access.yaml gives it one"},
	} {
		t.Run(name, func(t *testing.T) {
			w.agent.Set(w.is(tt.id))
			if got := w.call("", tt.args...); got.code != 1 || got.out != "" || !strings.Contains(got.err, tt.want) {
				t.Errorf("%+v, want %q", got, tt.want)
			}
		})
	}
	w.agent.Set(w.is(mailAgent))
	for name, subject := range map[string]string{"no token": "x.y.z", "an expired or foreign one": w.idp.says("at+jwt", map[string]any{"iss": serveIssuer, "sub": "alice"})} {
		got := w.call(subject, append(list, "--subject-token-file", "-")...)
		if got.code != 1 || !strings.Contains(got.err, `it answers "invalid_request", "`) || !strings.Contains(got.err, "the person's token has expired") || strings.Contains(got.err, subject) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestCallAtAnotherAddress says which mistake that is.
func TestCallAtAnotherAddress(t *testing.T) {
	agent := spiffetest.Serve(t, isWorkload(t, spiffetest.NewDomain(t, "example.org"), mailAgent))
	for status, want := range map[int]string{
		http.StatusMisdirectedRequest: "answers with HTTP 421: it goes by another name, which --issuer has to be\n",
		http.StatusBadRequest:         "answers with HTTP 400: is it https?\n",
		http.StatusBadGateway:         "answers with HTTP 502\n",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		env := environment(append(os.Environ(), "SPIFFE_ENDPOINT_SOCKET="+agent.Address(), issuerEnv+"="+server.URL))
		if got := env.begin(t, "", "mail", "list_messages").end(); got.code != 1 || !strings.Contains(got.err, want) {
			t.Errorf("%d: %+v, want %q", status, got, want)
		}
		server.Close()
	}
	refused := fmt.Errorf("Get %q: %w", issuerOfDev, syscall.ECONNREFUSED)
	for issuer, want := range map[string]bool{"": true, issuerOfDev: false} {
		if err := (callFlags{issuer: issuer}).explain(t.Context(), refused); strings.Contains(err.Error(), "say by --issuer or $WICKETGATE_ISSUER") != want {
			t.Errorf("--issuer %q: %v", issuer, err)
		}
	}
}

func TestResultIsPrinted(t *testing.T) {
	w := newCallWorld(t, withTLS+withMutualTLS)
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"the text":               {[]string{serveIssuer + "/mcp/mail", "read_message", "--arg", "id=m1"}, 0, `"subject":`},
		"a text that has a =":    {[]string{"mail", "send_message", "--arg", "to=bob@example.com", "--arg", "subject=1=1", "--arg", "body=3"}, 0, "Sent as message "},
		"all":                    {[]string{"mail", "list_messages", "--arg", "limit=1", "--json"}, 0, `"structuredContent":{"messages":[`},
		"all of an error, again": {[]string{"mail", "read_message", "--arg", "id=99", "--json"}, 1, `"isError":true`},
	} {
		if got := w.call("", tt.args...); got.code != tt.code || got.err != "" || !strings.Contains(got.out, tt.want) || !strings.HasSuffix(got.out, "\n") {
			t.Errorf("%s: %+v, want %q", name, got, tt.want)
		}
	}
}

// TestWhatIsNoTextIsSaid where there is text beside it, and printed where there is none.
func TestWhatIsNoTextIsSaid(t *testing.T) {
	text, image := &mcp.TextContent{Text: "a"}, &mcp.ImageContent{MIMEType: "image/png", Data: []byte("b")}
	for name, tt := range map[string]struct {
		result      mcp.CallToolResult
		out, stderr string
	}{
		"two texts":      {mcp.CallToolResult{Content: []mcp.Content{text, text}}, "a\na\n", ""},
		"text and image": {mcp.CallToolResult{Content: []mcp.Content{text, image}}, "a\n", "note: 1 more that are no text: --json prints them\n"},
		"image":          {mcp.CallToolResult{Content: []mcp.Content{image}}, `{"content":[{"type":"image","mimeType":"image/png","data":"Yg=="}]}` + "\n", ""},
		"structured":     {mcp.CallToolResult{Content: []mcp.Content{}, StructuredContent: 1}, `{"content":[],"structuredContent":1}` + "\n", ""},
	} {
		var c cobra.Command
		var out, stderr strings.Builder
		c.SetOut(&out)
		c.SetErr(&stderr)
		if err := printResult(&c, &tt.result, false); err != nil || out.String() != tt.out || stderr.String() != tt.stderr {
			t.Errorf("%s: %q, %q, %v", name, out.String(), stderr.String(), err)
		}
	}
}

// TestCallWaitsForItsRegistrationEntry: a workload starts before the agent knows of it.
func TestCallWaitsForItsRegistrationEntry(t *testing.T) {
	w := newCallWorld(t, withTLS)
	w.agent.Set(spiffetest.State{Refuse: codes.PermissionDenied})
	p := w.environment.begin(t, "", "mail", "list_messages", "-v")
	p.stderr.with("no registration entry is for this process")
	w.agent.Set(w.is(mailAgent))
	if got := p.end(); got.code != 0 || !strings.Contains(got.out, "Gale warning") {
		t.Errorf("%+v", got)
	}
}

// TestCallDoesNotWaitForever for what the agent does not say.
func TestCallDoesNotWaitForever(t *testing.T) {
	w := newCallWorld(t, withTLS)
	for name, tt := range map[string]struct {
		state spiffetest.State
		want  string
	}{
		"no entry": {spiffetest.State{Refuse: codes.PermissionDenied}, "no identity was issued to this process (uid "},
		"no word":  {spiffetest.State{Hang: true}, "no identity came from the Workload API: "},
		"no agent": {spiffetest.State{Refuse: codes.Unavailable}, "no identity came from the Workload API: "},
	} {
		w.agent.Set(tt.state)
		if got := w.call("", "mail", "list_messages", "--timeout", "1s"); got.code != 1 || !strings.Contains(got.err, tt.want) || !strings.Contains(got.err, "--timeout is 1s\n") {
			t.Errorf("%s: %+v, want %q", name, got, tt.want)
		}
	}
	w.agent.Stop()
	if got := w.call("", "mail", "list_messages"); got.code != 1 || !strings.Contains(got.err, "there is no socket of a Workload API at "+strings.TrimPrefix(w.agent.Address(), "unix://")+": does the SPIRE agent run") {
		t.Errorf("no socket: %+v", got)
	}
}
