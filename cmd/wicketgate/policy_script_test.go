package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rogpeppe/go-internal/testscript"
)

// devCalls is the command devcalls FOLDER TOOL[=ARGUMENTS]... of scripts: it runs
// development mode with that data folder, has its agent call the tools of the demo server,
// whatever comes of it, and ends it. What is left is a real audit log.
func devCalls(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: devcalls FOLDER TOOL[=ARGUMENTS]...")
	}
	data := ts.MkAbs(args[0])
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out, in := io.Pipe()
	var errs strings.Builder
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"dev", "--listen", "127.0.0.1:0", "--data", data}, in, &errs)
		in.Close()
	}()
	issuer := ""
	for sc := bufio.NewScanner(out); issuer == "" && sc.Scan(); {
		issuer, _ = strings.CutPrefix(sc.Text(), "ready ")
		if !strings.HasPrefix(sc.Text(), "ready ") {
			issuer = ""
		}
	}
	go io.Copy(io.Discard, out)
	if issuer != "" {
		ts.Check(agentCalls(ctx, issuer, data, args[1:]))
	}
	cancel()
	if code := <-done; code != 0 {
		ts.Fatalf("dev: exit code %d: %s", code, errs.String())
	}
}

func agentCalls(ctx context.Context, issuer, data string, calls []string) error {
	secret, err := os.ReadFile(filepath.Join(data, devAgent+".secret"))
	if err != nil {
		return err
	}
	resp, err := http.PostForm(issuer+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {devAgent},
		"client_secret": {strings.TrimSpace(string(secret))}, "resource": {issuer + "/mcp/mail"}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, &mcp.StreamableClientTransport{Endpoint: issuer + "/mcp/mail",
		DisableStandaloneSSE: true, HTTPClient: &http.Client{Transport: bearer{http.DefaultTransport, answer.AccessToken}}}, nil)
	if err != nil {
		return err
	}
	for _, c := range calls {
		tool, arguments, ok := strings.Cut(c, "=")
		if !ok {
			arguments = "{}"
		}
		_, _ = session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)}) // a refusal is in the log too
	}
	return session.Close()
}
