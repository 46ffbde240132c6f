package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// devToken is an access token of the development agent.
func devToken(t *testing.T, issuer, data string) string {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(data, devAgent+".secret"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.PostForm(issuer+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {devAgent},
		"client_secret": {strings.TrimSpace(string(secret))}, "resource": {issuer + "/mcp/mail"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("token: HTTP %d, %v", resp.StatusCode, err)
	}
	return answer.AccessToken
}

// TestDemoMailboxLeaksNothing: whoever may read every message, in development mode as
// it comes, sees no token, address, number of a card, account or phone.
func TestDemoMailboxLeaksNothing(t *testing.T) {
	dir := t.TempDir()
	printed, _ := startDev(t, "--data", dir)
	issuer := regexp.MustCompile(`(?m)^ready (http\S+)$`).FindStringSubmatch(printed)[1]
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: issuer + "/mcp/mail", DisableStandaloneSSE: true,
		HTTPClient: &http.Client{Transport: bearer{http.DefaultTransport, devToken(t, issuer, dir)}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	var all strings.Builder
	call := func(tool string, arguments any) {
		r, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
		if err != nil || r.IsError {
			t.Fatalf("%s: %+v, %v", tool, r, err)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	call("list_messages", map[string]any{"limit": 100})
	for i := range 8 {
		call("read_message", map[string]any{"id": fmt.Sprintf("m%d", i+1)})
	}
	for _, leak := range []string{"@", "ghp_", "7946", "1111", "GB82", "7654"} {
		if at := strings.Index(all.String(), leak); at >= 0 {
			t.Errorf("%s is in what was read: …%.80s", leak, all.String()[max(0, at-40):])
		}
	}
	for _, want := range []string{"Ines Calder ", "[email]", "[secret:github-pat]", "[phone]", "[card]", "[iban]", "Gale warning"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%s is not in what was read", want)
		}
	}
	audited, err := os.ReadFile(filepath.Join(dir, fileAudit))
	if err != nil || !strings.Contains(string(audited), `"redactions":`) {
		t.Errorf("the audit log says nothing of redactions: %v", err)
	}
}

// TestSecretsAreNotShownToApprovers, whatever is written.
func TestSecretsAreNotShownToApprovers(t *testing.T) {
	w := newWorld(t, nil)
	for name, code := range map[string]int{"email": 0, "secrets": 2, "names": 2} {
		path := w.write("wicketgate.yaml", strings.Replace(readText(t, w.config(withTLS)), `/mcp"}`, `/mcp", approvers_see: [`+name+`]}`, 1))
		var out strings.Builder
		if got := run(t.Context(), []string{"serve", "--config", path, "--check-config"}, &out, &out); got != code || (code != 0) != strings.Contains(out.String(), "servers[0].approvers_see: class") {
			t.Errorf("%s: exit code %d: %s", name, got, out.String())
		}
	}
}

func TestRedactionIsReadWithItsDefaults(t *testing.T) {
	for in, want := range map[string]RedactConfig{
		"":                            {"mask", "off", "off", "mask", "mask"},
		", redact: {}":                {"mask", "off", "off", "mask", "mask"},
		", redact: {email: mask}":     {"mask", "mask", "off", "mask", "mask"},
		", redact: {card: off}":       {"mask", "off", "off", "off", "mask"},
		`, redact: {secrets: "deny"}`: {"deny", "off", "off", "mask", "mask"},
	} {
		d, c := &document{file: "f"}, Config{}
		d.read([]byte("issuer: https://a\ndata: d\npolicy: p\nservers: [{name: a, url: https://b"+in+"}]"), &c)
		if err := d.err(); err != nil || c.Servers[0].Redact != want {
			t.Errorf("%q is read as %+v, %v, want %+v", in, c.Servers[0].Redact, err, want)
		}
	}
	d := &document{file: "f"}
	d.read([]byte("issuer: https://a\ndata: d\npolicy: p\nservers: [{name: a, url: https://b, redact: {card: hide}}]"), &Config{})
	if err := d.err(); err == nil || !strings.Contains(err.Error(), "servers[0].redact.card") {
		t.Errorf("an action that is none: %v", err)
	}
}
