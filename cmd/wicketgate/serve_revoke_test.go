package main

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/pgtest"
)

const withExchanger = "clients:\n  - {id: " + agentID + ", secret_file: agent.secret, grant_types: [client_credentials, \"urn:ietf:params:oauth:grant-type:token-exchange\"]}\n"

// replica starts one of several servers over a database.
func replica(t *testing.T, database string, n int) (*world, string) {
	t.Helper()
	w := newWorld(t, nil)
	w.write("kek", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n") // replicas share it
	config := w.config(withTLS + withExchanger + "key_encryption_key: kek\n" + withPostgres(database, fmt.Sprint("replica-", n)))
	w.start(config)
	return w, config
}

// doors tries a token at the gateway, the exchange and introspection, and says what
// each answers.
func (w *world) doors(raw string) (gateway, exchange int, introspection string) {
	w.t.Helper()
	client := w.client()
	req, err := http.NewRequest(http.MethodPost, w.issuer+"/mcp/mail", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+raw)
	gateway, _ = w.do(client, req)
	exchange, _ = w.post(client, w.issuer+"/oauth2/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {raw},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "resource": {w.issuer + "/mcp/mail"}, "scope": {"mcp:tools"}}, agentID, agentSecret)
	_, introspection = w.post(client, w.issuer+"/oauth2/introspect", url.Values{"token": {raw}}, agentID, agentSecret)
	return gateway, exchange, introspection
}

// refused reports whether every door refuses the token for good.
func (w *world) refused(raw string) bool {
	gateway, exchange, introspection := w.doors(raw)
	return gateway == http.StatusUnauthorized && exchange == http.StatusBadRequest && introspection == `{"active":false}`
}

// eventually waits for what must be so by then.
func eventually(t *testing.T, d time.Duration, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !so(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// A17: TestRevocationReachesEveryReplica: on the one that took it at once, on the other
// within five seconds; a freeze beside them on both, with a line in each log.
func TestRevocationReachesEveryReplica(t *testing.T) {
	database := pgtest.Migrated(t)
	a, config := replica(t, database, 1)
	b, _ := replica(t, database, 2)
	raw, refused := a.accessToken(a.client())
	if raw == "" {
		t.Fatal(refused)
	}
	for _, w := range []*world{a, b} {
		if gateway, exchange, introspection := w.doors(raw); gateway != 200 || exchange != 200 || !strings.Contains(introspection, `"active":true`) {
			t.Fatalf("before: %d %d %s", gateway, exchange, introspection)
		}
	}
	if status, body := a.post(a.client(), a.issuer+"/oauth2/revoke", url.Values{"token": {raw}}, agentID, agentSecret); status != http.StatusOK {
		t.Fatalf("revoke: %d %s", status, body)
	}
	if !a.refused(raw) {
		t.Error("the replica that took the revocation goes on")
	}
	eventually(t, 5*time.Second, "the other replica refuses", func() bool { return b.refused(raw) })

	raw, _ = b.accessToken(b.client())
	var out strings.Builder
	command := func(args ...string) {
		t.Helper()
		if code := run(t.Context(), append(args, "--config", config), &out, &out); code != 0 {
			t.Fatalf("%v: %d %s", args, code, out.String())
		}
	}
	command("freeze", "client", agentID, "--reason", "odd calls")
	for _, w := range []*world{a, b} {
		eventually(t, 5*time.Second, "a frozen client is refused", func() bool {
			got, refused := w.accessToken(w.client())
			gateway, _, _ := w.doors(raw)
			return got == "" && strings.Contains(refused, `"access_denied"`) && gateway == http.StatusUnauthorized
		})
		lines := readText(t, filepath.Join(w.dir, "data", "audit.jsonl"))
		if !strings.Contains(lines, `"kind":"revocation"`) || !strings.Contains(lines, `"action":"freeze"`) || !strings.Contains(lines, `"reason":"odd calls"`) || !strings.Contains(lines, `"operator":"`) {
			t.Errorf("no line about the freeze:\n%s", lines)
		}
	}
	command("unfreeze", "client", agentID)
	command("freeze", "server", "mail")
	for _, w := range []*world{a, b} {
		eventually(t, 20*time.Second, "it goes on, but for the frozen server", func() bool { // the margin of the freeze of just now
			next, _ := w.accessToken(w.client())
			if next == "" {
				return false
			}
			gateway, exchange, _ := w.doors(next)
			return gateway == http.StatusServiceUnavailable && exchange == http.StatusBadRequest
		})
		if gateway, _, _ := w.doors(raw); gateway != http.StatusUnauthorized {
			t.Errorf("a token from before the freeze: %d", gateway)
		}
	}
}

// A17: TestReplicaWithoutItsStoreRefusesEverything once its view is five seconds old, and
// recovers with it.
func TestReplicaWithoutItsStoreRefusesEverything(t *testing.T) {
	line := newLine(t, pgtest.Migrated(t))
	w, _ := replica(t, line.url, 1)
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	line.cut()
	eventually(t, 10*time.Second, "the gateway refuses, and not as if the token were bad", func() bool {
		gateway, _, introspection := w.doors(raw)
		if strings.Contains(introspection, "active") {
			t.Errorf("introspection answers %s", introspection)
		}
		return gateway == http.StatusServiceUnavailable
	})
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `{"name":"revocations","ok":false`) {
		t.Errorf("readyz: %d %s", status, body)
	}
	line.mend()
	eventually(t, 10*time.Second, "it recovers", func() bool { gateway, _, _ := w.doors(raw); return gateway == http.StatusOK })
	if status, body := w.get(w.admin + "/readyz"); status != http.StatusOK {
		t.Errorf("readyz afterwards: %d %s", status, body)
	}
}
