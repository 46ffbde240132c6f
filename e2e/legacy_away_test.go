package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/pgtest"
)

const (
	quietCallers = 4  // of a server that needs no Vault
	enough       = 20 // calls, to say that something goes or does not
)

// toldByTool is no denial: PostgreSQL has ended the connection of a user that is no more.
const toldByTool = "the tool's own error"

// weather is a load that goes on while Vault has its troubles.
type weather struct {
	h      *legacyHouse
	l      *vaultLoad
	good   atomic.Int64
	denied atomic.Int64
	quiet  atomic.Int64 // of the server that needs no Vault

	mu      sync.Mutex // guards what follows
	reasons map[string]int
	wrong   []string
}

// quietServer answers the same tool, and needs no credential.
func quietServer(t *testing.T) string {
	t.Helper()
	srv := mcp.NewServer(&mcp.Implementation{Name: "quiet", Version: "1"}, nil)
	mcp.AddTool(srv, &mcp.Tool{Name: "query", Description: "Answer."}, func(context.Context, *mcp.CallToolRequest, struct {
		SQL string `json:"sql"`
	}) (*mcp.CallToolResult, rows, error) {
		return nil, rows{User: "nobody", Rows: []map[string]any{}}, nil
	})
	s := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return srv }, &mcp.StreamableHTTPOptions{Stateless: true}))
	t.Cleanup(s.Close)
	return s.URL
}

// run makes calls until ctx ends.
func (w *weather) run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range loadAtOnce {
		server := "reports"
		if i < quietCallers {
			server = "quiet"
		}
		all.Go(func() {
			for ctx.Err() == nil {
				c := caller{h: w.h, raw: w.l.tokens[fmt.Sprint(server, rand.IntN(len(subjects)))], server: server}
				said, err := c.query(ctx, plain)
				if ctx.Err() == nil {
					w.count(server, said, err)
				}
			}
		})
	}
	all.Wait()
}

// reasonIn finds the word for the audit log in what a caller is told.
var reasonIn = regexp.MustCompile(`(?:^|: )([a-z]+(?:_[a-z]+)+)\b`)

func (w *weather) count(server string, said rows, err error) {
	if server == "quiet" {
		if w.quiet.Add(1); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.wrong = append(w.wrong, "the server that needs no Vault: "+err.Error())
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.good.Add(1)
		w.l.users[said.User] = true
		return
	}
	if errors.Is(err, errTool) {
		w.reasons[toldByTool]++
		return
	}
	w.denied.Add(1)
	if m := reasonIn.FindStringSubmatch(err.Error()); m != nil {
		w.reasons[m[1]]++
	} else {
		w.reasons[err.Error()]++
	}
}

// goes waits until calls succeed again.
func (w *weather) goes(what string) {
	w.h.t.Helper()
	before := w.good.Load()
	eventually(w.h.t, "calls succeed: "+what, func() bool { return w.good.Load() >= before+enough })
}

// fails waits until calls are denied, and those of the other server go on.
func (w *weather) fails(what string) {
	w.h.t.Helper()
	denied, quiet := w.denied.Load(), w.quiet.Load()
	eventually(w.h.t, "calls are denied, and others go on: "+what, func() bool { return w.denied.Load() >= denied+enough && w.quiet.Load() >= quiet+enough })
}

// only checks the reasons of the denials since it was last asked.
func (w *weather) only(what string, allowed ...string) {
	w.h.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.h.t.Logf("%s: %v", what, w.reasons)
	for reason := range maps.Keys(w.reasons) {
		if !slices.Contains(allowed, reason) {
			w.h.t.Errorf("%s: %d calls failed with %s, want only %v", what, w.reasons[reason], reason, allowed)
		}
	}
	w.reasons = map[string]int{}
	for _, wrong := range w.wrong[:min(len(w.wrong), 10)] {
		w.h.t.Error(wrong)
	}
	w.wrong = nil
}

// revokedMeanwhile has an operator revoke the token of a call while that goes on: it is over.
func (w *weather) revokedMeanwhile() {
	h := w.h
	h.t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := h.query(context.WithoutCancel(h.t.Context()), w.l.tokens["reports0"], "reports", hangs)
		ended <- err
	}()
	eventually(h.t, "the call runs", func() bool {
		return pgtest.Query(h.t, h.db, "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'v-jwt-alic-%' AND datname = current_database() AND query = '"+strings.ReplaceAll(hangs, "'", "''")+"'") == "1"
	})
	eventually(h.t, "the call is over", func() bool {
		h.revoke("jwt-" + subjects[0])
		select {
		case err := <-ended:
			if !errors.Is(err, errTool) {
				h.t.Errorf("the call ended with %v, want what PostgreSQL says", err)
			}
			return true
		default:
			return false
		}
	})
}

// A20: TestVaultInTroubleDeniesAndRecovers: sealed, killed, and with tokens revoked under
// load, Vault costs the calls that need it, which are denied with the reason, and no other
// server; when it is well again, so is everything, with no restart of ours.
func TestVaultInTroubleDeniesAndRecovers(t *testing.T) {
	t.Parallel()
	h := startLegacy(t, legacySetup{servers: "  - {name: quiet, url: \"" + quietServer(t) + "\"}\n", tools: "      quiet: {tools: [query]}\n"})
	w := &weather{h: h, l: newVaultLoad(h, "reports", "quiet"), reasons: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	load.Go(func() { w.run(ctx) })
	w.goes("at first")
	w.only("at first")

	h.vault.Seal(t)
	w.fails("sealed")
	h.vault.UnsealAgain(t)
	w.goes("unsealed")
	w.only("sealed and unsealed", "vault_sealed", "vault_circuit_open", "vault_failed", "vault_permission_denied")

	eventually(t, "our own login is revoked", func() bool { return h.revoke("jwt-wicketgate-gateway") > 0 })
	w.goes("without our own login")
	w.only("own login revoked")

	revoked := 0
	eventually(t, "tokens of calls are revoked", func() bool {
		revoked += h.revoke("jwt-alice", "jwt-bob", "jwt-carol", "jwt-dave")
		return revoked >= enough
	})
	w.revokedMeanwhile()
	w.goes("with tokens of calls revoked")
	w.only("tokens of calls revoked", "vault_permission_denied", "credential_ended", toldByTool)

	h.vault.Kill()
	w.fails("killed")
	h.vault.Run(t)
	w.goes("started again")
	w.only("killed and started again", "vault_unreachable", "vault_circuit_open", "vault_failed", "vault_sealed")
	cancel()
	load.Wait()
	w.onlyVaultForgot()
}

// onlyVaultForgot waits until nothing is left but users whom Vault had made when it was
// sealed or killed, and never gave to anybody: it has no lease of them, and nobody else
// knows their names. PostgreSQL does not let them in once their time is over.
func (w *weather) onlyVaultForgot() {
	h := w.h
	h.t.Helper()
	eventually(h.t, "no lease, token or record is left", func() bool { return len(h.leases())+len(h.tokens())+h.sqliteRecords() == 0 })
	left := h.users()
	h.t.Log("forgotten by Vault:", left)
	if len(left) > 2*loadAtOnce {
		h.t.Errorf("%d users are left", len(left))
	}
	for _, user := range left {
		if w.l.users[user] {
			h.t.Errorf("the user %s of a call is left", user)
		}
	}
}
