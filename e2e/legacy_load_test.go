package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	loadCalls   = 1000
	loadAtOnce  = 16
	frailAtOnce = 8 // commands of one subject
)

// frail stands before a legacy server, and fails as a statement asks for.
func frail(t *testing.T, server string) string {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	rest := proxy(t, func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: to.Scheme, Host: to.Host}) })
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		switch {
		case bytes.Contains(body, []byte("/* 500 */")):
			http.Error(w, "the server has a fault", http.StatusInternalServerError)
		case bytes.Contains(body, []byte("/* half */")):
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: message\ndata: {\"jsonrpc\":")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case bytes.Contains(body, []byte("/* die */")):
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rest.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of answers to who has gone
	s.Start()
	t.Cleanup(s.Close)
	return s.URL + to.Path
}

// frailServers are three more servers of the same database: hasty, which is given little
// time, faulty, whose circuit is then its own, and mortal, a command that ends before it
// has answered.
func frailServers(t *testing.T, c *legacySetup) {
	t.Helper()
	dir := publicDir(t)
	mortal := filepath.Join(dir, "mortal")
	script := fmt.Sprintf("#!/bin/sh\n[ -z \"$DATABASE_URL\" ] && exec '%[1]s'\nhead -n 1 | '%[1]s'\n", legacyProgram(t))
	if err := os.WriteFile(mortal, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	c.servers = `
  - name: hasty
    url: http://127.0.0.1:9000/mcp
    timeout: 2s
    credential: vault
    vault:
      engine: database
      path: "database/creds/reports-{{.subject}}"
      role: hasty
      inject:
        header: [{name: X-Db-User, value: "{{.username}}"}, {name: X-Db-Password, value: "{{.password}}"}]
  - name: faulty
    url: http://127.0.0.1:9000/mcp
    credential: vault
    vault:
      engine: database
      path: "database/creds/reports-{{.subject}}"
      role: faulty
      inject:
        header: [{name: X-Db-User, value: "{{.username}}"}, {name: X-Db-Password, value: "{{.password}}"}]
  - name: mortal
    command: [` + mortal + `]
    credential: vault
    sandbox: {connect: ["5432"], read: [` + dir + `, ` + legacyProgram(t) + `]}
    vault:
      engine: database
      path: "database/creds/ledger-{{.subject}}"
      role: mortal
      inject:
        env: [{name: DATABASE_URL, value: "postgres://{{.username}}:{{.password | urlquery}}@127.0.0.1:5432/app"}]
`
	c.tools = "      hasty: {tools: [query]}\n      faulty: {tools: [query]}\n      mortal: {tools: [query]}\n"
	c.reports = func(server string) string { return frail(t, server) }
}

// vaultLoad is many calls, of which some must succeed.
type vaultLoad struct {
	h        *legacyHouse
	tokens   map[string]string // by server, subject and by whom
	commands chan struct{}
	at       string // as of caller

	good, bad atomic.Int64
	mu        sync.Mutex // guards what follows
	users     map[string]bool
	wrong     []string
}

func newVaultLoad(h *legacyHouse, servers ...string) *vaultLoad {
	h.t.Helper()
	l := &vaultLoad{h: h, tokens: map[string]string{}, commands: make(chan struct{}, frailAtOnce), users: map[string]bool{}}
	for _, server := range servers {
		for i, who := range subjects {
			l.tokens[fmt.Sprint(server, i)] = h.token(who, server, i%2 == 0)
		}
	}
	return l
}

// kind is a kind of call, and whether it has to succeed.
type kind struct {
	server, sql string
	good        bool
	hangUp      bool // at some time
}

const (
	plain = "SELECT 1 AS one"
	hangs = "SELECT pg_sleep(600)::text"
)

// kinds of calls, one after the other.
var kindsOfCalls = []kind{
	{"reports", "SELECT nothing FROM nowhere", false, false},
	{"faulty", "SELECT 1 /* 500 */", false, false},
	{"faulty", "SELECT 1 /* die */", false, false},
	{"faulty", "SELECT 1 /* half */", false, false},
	{"reports", hangs, false, true},
	{"reports", hangs, false, true},
	{"hasty", hangs, false, false},
	{"ledger", plain, true, false},
	{"ledger", "SELECT nothing FROM nowhere", false, false},
	{"ledger", hangs, false, true},
	{"mortal", hangs, false, false},
	{"reports", plain, true, false},
	{"reports", plain, true, false},
	{"reports", plain, true, false},
	{"reports", plain, true, false},
	{"reports", plain, true, false},
	{"reports", plain, true, false},
	{"reports", plain, true, false},
	{"reports", plain, true, false},
	{"reports", plain, true, false},
}

// run makes the first n calls, sixteen at a time.
func (l *vaultLoad) run(ctx context.Context, n int) {
	var next atomic.Int64
	var all sync.WaitGroup
	for worker := range loadAtOnce {
		all.Go(func() {
			sessions := map[string]caller{}
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				l.one(ctx, i, worker%2 == 1, sessions)
			}
		})
	}
	all.Wait()
}

func (l *vaultLoad) one(ctx context.Context, i int, inSession bool, sessions map[string]caller) {
	k := kindsOfCalls[i%len(kindsOfCalls)]
	key := fmt.Sprint(k.server, rand.IntN(len(subjects)))
	c := caller{h: l.h, raw: l.tokens[key], server: k.server, at: l.at}
	if k.server == "ledger" || k.server == "mortal" {
		l.commands <- struct{}{}
		defer func() { <-l.commands }()
	} else if inSession && k.server == "reports" && !k.hangUp { // which is no cancellation there
		if _, ok := sessions[key]; !ok {
			s, err := c.inSession(ctx)
			if err != nil {
				l.say("initialize: %v", err)
				return
			}
			sessions[key] = s
		}
		c = sessions[key]
	}
	if k.hangUp {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rand.N(500*time.Millisecond))
		defer cancel()
	}
	said, err := c.query(ctx, k.sql)
	l.count(k, said, err)
}

func (l *vaultLoad) count(k kind, said rows, err error) {
	switch {
	case err == nil && k.good:
		l.good.Add(1)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.users[said.User] || !strings.HasPrefix(said.User, "v-jwt-") {
			l.wrong = append(l.wrong, "a second call as "+said.User)
		}
		l.users[said.User] = true
	case err == nil:
		l.say("%s: %s succeeded", k.server, k.sql)
	case k.good:
		l.say("%s: %v", k.server, err)
	case k.hangUp && !errors.Is(err, context.DeadlineExceeded):
		l.say("%s, hung up: %v", k.server, err)
	default:
		l.bad.Add(1)
	}
}

func (l *vaultLoad) say(format string, arguments ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, arguments...))
}

// check reports what went wrong, a little of it.
func (l *vaultLoad) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d calls succeeded, %d failed as they had to", l.good.Load(), l.bad.Load())
	for _, wrong := range l.wrong[:min(len(l.wrong), 10)] {
		t.Error(wrong)
	}
}

// A20: TestNoLeaseOutlivesAThousandCalls: of a thousand calls, sixteen at a time, over HTTP
// and as commands, cancelled, failed and out of time among them, nothing is left: no lease
// and no token in Vault, no user in PostgreSQL, no record in the store.
func TestNoLeaseOutlivesAThousandCalls(t *testing.T) {
	var c legacySetup
	frailServers(t, &c)
	h := startLegacy(t, c)
	h.alike("hasty", "reports")
	h.alike("faulty", "reports")
	h.alike("mortal", "ledger")
	l := newVaultLoad(h, "reports", "hasty", "faulty", "ledger", "mortal")
	l.run(t.Context(), loadCalls)
	l.check(t)
	h.nothingIsLeft(h.sqliteRecords)
	status := map[string]int{}
	for _, line := range h.leaseLines() {
		status[line.Status]++
	}
	t.Log("leases: ", status)
	if status["minted"] != status["revoked"] || status["minted"] < loadCalls/2 || len(status) != 2 {
		t.Errorf("leases in the audit log: %v, want as many revoked as minted, and nothing else", status)
	}
}
