package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/console"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// TestApprovals runs testdata/approvals: people at terminals, against a whole server, where
// a robot sits at the browser.
func TestApprovals(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/approvals", Cmds: map[string]func(*testscript.TestScript, bool, []string){
		"waiting":  deskCommand((*approvalDesk).waiting),
		"as":       deskCommand((*approvalDesk).as),
		"state":    deskCommand((*approvalDesk).state),
		"oldlogin": deskCommand((*approvalDesk).oldLogin),
	}, Setup: func(env *testscript.Env) error {
		d, err := openDesk(t)
		if err == nil {
			env.Defer(d.close)
			env.Values[deskKey{}] = d
		}
		return err
	}})
}

type deskKey struct{}

func deskCommand(f func(*approvalDesk, *testscript.TestScript, bool, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		f(ts.Value(deskKey{}).(*approvalDesk), ts, neg, args)
	}
}

// approvalDesk is a server of development mode, and the browsers of those who log in there.
type approvalDesk struct {
	house    *house
	server   *httptest.Server
	older    atomic.Int64 // see ageing
	browsers map[string]http.CookieJar
}

const deskAccess = `version: 1
roles:
  approver:
    who: {users: [alice, bob]}
  writer:
    who: {users: [alice]}
    servers:
      mail:
        tools:
          list_messages:
          send_message: {risk: high, approval: {by: [approver], within: 15m}}
          delete_message: {risk: critical, approval: {by: [approver], within: 15m, max_age: 5m}}
`

func openDesk(t *testing.T) (*approvalDesk, error) {
	dir := t.TempDir()
	d := &approvalDesk{server: httptest.NewUnstartedServer(nil), browsers: map[string]http.CookieJar{}}
	if err := os.WriteFile(filepath.Join(dir, fileAccess), []byte(deskAccess), 0o600); err != nil {
		return nil, err
	}
	setup, err := prepareDev(devConfig{data: dir}, "http://"+d.server.Listener.Addr().String(), "http://127.0.0.1:9/mcp")
	if err != nil {
		return nil, err
	}
	setup.house.Log = slog.New(slog.DiscardHandler)
	if d.house, err = build(context.WithoutCancel(t.Context()), setup.house); err != nil {
		return nil, err
	}
	cfg := d.house.consoleConfig(setup.house, d.house.handler)
	cfg.Transport, cfg.PDP = http.DefaultTransport, ageing{cfg.PDP, &d.older}
	pages, err := console.New(cfg)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", d.house.handler)
	pages.Register(mux)
	d.server.Config.Handler = mux
	d.server.Start()
	return d, nil
}

// ageing has the policy see each login as older than it is.
type ageing struct {
	console.PDP
	by *atomic.Int64 // nanoseconds
}

func (a ageing) Decide(ctx context.Context, q policies.Request) policies.Decision {
	q.AuthTime = q.AuthTime.Add(-time.Duration(a.by.Load()))
	return a.PDP.Decide(ctx, q)
}

func (d *approvalDesk) subject(t *testing.T, name string) identity.Subject {
	t.Helper()
	who, err := identity.ParseSubject(name)
	if err != nil {
		t.Fatal(err)
	}
	return who
}

func (d *approvalDesk) close() { d.server.Close(); _ = d.house.close() }

// waiting NAME SUBJECT TOOL [ARGUMENTS]: a call waits, and $NAME is its id.
func (d *approvalDesk) waiting(ts *testscript.TestScript, _ bool, args []string) {
	arguments := `{"to":"eve@example.com","body":"[redacted]"}`
	if len(args) > 3 {
		arguments = args[3]
	}
	who, err := identity.ParseSubject(args[1])
	ts.Check(err)
	r, err := d.house.approvals.Open(context.Background(), approval.Request{Binding: approval.Binding{Subject: who, Client: identity.MustClientID("agent"), Actors: []string{"agent", "notebook"}, Server: "mail", Tool: args[2],
		ArgumentsDigest: fmt.Sprintf("%x", sha256.Sum256([]byte(arguments))), DefinitionDigest: "d", PolicyDigest: d.house.pdp.Digest(), Rule: "roles.writer.servers.mail.tools." + args[2]},
		Arguments: jsontext.Value(arguments), Risk: "high", By: [][]string{{"approver"}}, Expires: time.Now().Add(15 * time.Minute)})
	ts.Check(err)
	ts.Setenv(args[0], r.ID)
}

// state ID STATE wants it so.
func (d *approvalDesk) state(ts *testscript.TestScript, _ bool, args []string) {
	r, err := d.house.approvals.Get(context.Background(), args[0])
	ts.Check(err)
	if string(r.State) != args[1] {
		ts.Fatalf("it is %s, want %s", r.State, args[1])
	}
}

// oldLogin: every login is ten minutes old, until somebody was asked for another.
func (d *approvalDesk) oldLogin(*testscript.TestScript, bool, []string) {
	d.older.Store(int64(10 * time.Minute))
}

var deviceLink = regexp.MustCompile(`(?m)^  (http://\S+)$`)

// as USER ARGS: wicketgate approvals ARGS, where the user logs in as soon as they are asked.
func (d *approvalDesk) as(ts *testscript.TestScript, neg bool, args []string) {
	var stderr bytes.Buffer
	logged := 0
	root := &cobra.Command{Use: "wicketgate", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(approvalsCommand(func(context.Context, time.Duration) error {
		links := deviceLink.FindAllStringSubmatch(stderr.String(), -1)
		if logged == len(links) {
			return fmt.Errorf("polled again after the answer:\n%s", stderr.String())
		}
		logged++
		return d.logIn(args[0], links[len(links)-1][1])
	}))
	root.SetArgs(append([]string{"approvals", "--issuer", d.server.URL}, args[1:]...))
	root.SetOut(ts.Stdout())
	root.SetErr(&stderr)
	err := root.ExecuteContext(context.Background())
	if err != nil {
		fmt.Fprintln(&stderr, "wicketgate:", err)
	}
	_, _ = io.Copy(ts.Stderr(), &stderr)
	if (err != nil) != neg {
		ts.Fatalf("error %v", err)
	}
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	hiddens    = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// logIn does what a person does with the link: nobody denies.
func (d *approvalDesk) logIn(user, link string) error {
	jar := d.browsers[user]
	if jar == nil {
		jar, _ = cookiejar.New(nil)
		d.browsers[user] = jar
	}
	if strings.Contains(link, "max_age=299&") {
		d.older.Store(0)
	}
	at, err := url.Parse(link)
	if err != nil {
		return err
	}
	client := &http.Client{Jar: jar}
	resp, err := client.Get(link)
	for range 5 {
		if err != nil {
			return err
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		m := formAction.FindStringSubmatch(string(b))
		if m == nil {
			return nil
		}
		form := url.Values{"user": {user}, "decision": {"approve"}}
		if user == "nobody" {
			form = url.Values{"user": {"carol"}, "decision": {"deny"}}
		}
		for _, h := range hiddens.FindAllStringSubmatch(string(b), -1) {
			form.Set(h[1], html.UnescapeString(h[2]))
		}
		form.Set("user_code", at.Query().Get("user_code"))
		req, bad := http.NewRequest(http.MethodPost, d.server.URL+m[1], strings.NewReader(form.Encode()))
		if bad != nil {
			return bad
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", d.server.URL)
		resp, err = client.Do(req)
	}
	return fmt.Errorf("the pages never end")
}
