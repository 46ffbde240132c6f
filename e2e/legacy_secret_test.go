package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/internal/pgtest"
)

const noteKey = "note/key+of=everybody&%7E"

// vaultTap stands between the gateway and Vault, and keeps every secret that passes.
type vaultTap struct {
	mu      sync.Mutex        // guards secrets
	secrets map[string]string // and what each is
}

func newVaultTap() *vaultTap { return &vaultTap{secrets: map[string]string{}} }

func (v *vaultTap) start(t *testing.T, vault string) string {
	t.Helper()
	to, err := url.Parse(vault)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Header.Set("Accept-Encoding", "identity")
			b, err := io.ReadAll(r.In.Body)
			if err == nil {
				v.keepAll(b)
				r.Out.Body = io.NopCloser(bytes.NewReader(b))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			b, err := io.ReadAll(r.Body)
			v.keepAll(b)
			r.Body = io.NopCloser(bytes.NewReader(b))
			return err
		},
	})
	t.Cleanup(s.Close)
	return s.URL
}

// keepAll keeps what is secret of a message in JSON.
func (v *vaultTap) keepAll(message []byte) {
	var m any
	if json.Unmarshal(message, &m) == nil {
		v.walk("", m)
	}
}

func (v *vaultTap) walk(name string, m any) {
	switch m := m.(type) {
	case map[string]any:
		for k, child := range m {
			v.walk(k, child)
		}
	case string:
		switch name {
		case "client_token", "password", "private_key", "key", "jwt":
			v.keep(name, m)
		}
	}
}

func (v *vaultTap) keep(what, secret string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for line := range strings.Lines(secret) { // of PEM
		if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "-----") {
			v.secrets[line] = what
		}
	}
}

// spellings are the ways in which somebody may have written a secret.
func spellings(secret string) [][]byte {
	all := []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))), url.QueryEscape(secret), url.PathEscape(secret)}
	if b, err := json.Marshal(secret); err == nil {
		all = append(all, strings.Trim(string(b), `"`))
	}
	for shift := range 3 { // where it begins in what is encoded
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := e.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
			all = append(all, text[[]int{0, 2, 3}[shift]:len(text)-2])
		}
	}
	slices.Sort(all)
	var out [][]byte
	for _, form := range slices.Compact(all) {
		out = append(out, []byte(form))
	}
	return out
}

// find returns where secrets are among texts, and what they are.
func (v *vaultTap) find(texts map[string][]byte) (found []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for secret, what := range v.secrets {
		for _, form := range spellings(secret) {
			for where, text := range texts {
				if i := bytes.Index(text, form); i >= 0 {
					found = append(found, fmt.Sprintf("%s in %s at %d, as %.12q", what, where, i, form))
				}
			}
		}
	}
	return found
}

// echoing is a hostile server: wherever it can it says what it was called with.
func echoing(t *testing.T) string {
	t.Helper()
	handler := mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		key := r.Header.Get("X-Key")
		s := mcp.NewServer(&mcp.Implementation{Name: "echoing", Version: "1"}, &mcp.ServerOptions{Instructions: "Use " + key})
		mcp.AddTool(s, &mcp.Tool{Name: "query", Description: "Answers with " + key}, func(ctx context.Context, r *mcp.CallToolRequest, in struct {
			SQL string `json:"sql"`
		}) (*mcp.CallToolResult, map[string]any, error) {
			key := r.Extra.Header.Get("X-Key")
			if in.SQL == "error" {
				return nil, nil, errors.New("refused: " + key)
			}
			texts := []mcp.Content{}
			for _, form := range spellings(key) {
				texts = append(texts, &mcp.TextContent{Text: "said " + string(form) + "."})
			}
			basic := base64.StdEncoding.EncodeToString([]byte("user:" + key))
			return &mcp.CallToolResult{Content: append(texts, &mcp.TextContent{Text: "Basic " + basic})}, map[string]any{key: []string{key}, "hex": hex.EncodeToString([]byte(key))}, nil
		})
		return s
	}, &mcp.StreamableHTTPOptions{Stateless: true})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("X-Key"))
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte(`"sql":"500"`)) {
			http.Error(w, "refused: "+r.Header.Get("X-Key"), http.StatusInternalServerError)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// talkative is a world in which secrets of every engine go through everything.
func talkative(t *testing.T, tap *vaultTap) legacySetup {
	t.Helper()
	return legacySetup{
		vault: func(vault string) string { return tap.start(t, vault) },
		tools: "      notes: {tools: [query]}\n      signer: {tools: [query]}\n      echoing: {tools: [query]}\n",
		servers: `
  - name: notes # whose error is told with the user's name, which is the key
    url: http://127.0.0.1:9000/mcp
    credential: vault
    vault:
      engine: kv
      path: secret/data/shared
      role: notes
      inject:
        header: [{name: X-Db-User, value: "{{.key}}"}, {name: X-Db-Password, value: "{{.key}}"}]
  - name: signer
    command: [/usr/local/bin/legacy-postgres]
    credential: vault
    vault:
      engine: pki
      path: pki/issue/calls
      role: signer
      request: [{name: common_name, value: call.example.com}, {name: ttl, value: 1m}]
      inject:
        env: [{name: DATABASE_URL, value: "postgres://[{{.serial_number}}"}]
        files: [{env: KEY, name: key.pem, content: "{{.private_key}}"}]
  - name: echoing
    url: ` + echoing(t) + `
    credential: vault
    vault:
      engine: kv
      path: secret/data/shared
      role: echoing
      messages: all
      inject:
        header: [{name: X-Key, value: "{{.key}}"}]
`}
}

// prepare has Vault have all that talkative servers are given.
func (h *legacyHouse) prepare() {
	h.t.Helper()
	for _, server := range []string{"notes", "signer", "echoing"} {
		h.alike(server, "reports")
	}
	h.vault.Policy(h.t, "reports", `path "database/creds/*" { capabilities = ["read"] }
path "secret/data/shared" { capabilities = ["read"] }
path "pki/issue/calls" { capabilities = ["update"] }`)
	h.vault.Do(h.t, http.MethodPost, "secret/data/shared", map[string]any{"data": map[string]string{"key": noteKey}})
	h.vault.Mount(h.t, "pki")
	h.vault.Do(h.t, http.MethodPost, "pki/root/generate/internal", map[string]any{"common_name": "a CA of a test", "ttl": "24h"})
	h.vault.Do(h.t, http.MethodPost, "pki/roles/calls", map[string]any{"allow_any_name": true, "max_ttl": "1h"})
}

// A20: TestNoSecretIsAnywhere: what Vault gave for calls, its tokens and the call tokens are
// in no output, log, audit log, answer, metric or status, and nowhere in the data folder or
// the store, however written; not even where servers say what they were given.
func TestNoSecretIsAnywhere(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); noSecretIsAnywhere(t, "", nil) })
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		store := pgtest.Migrated(t)
		noSecretIsAnywhere(t, store, func(c *legacySetup) {
			c.extra = "key_encryption_key: kek\nstore: {postgres: {url: \"" + store + "\"}}\naudit: {name: replica}\n"
			c.files = map[string]string{"kek": sharedKEK}
		})
	})
}

func noSecretIsAnywhere(t *testing.T, store string, change func(*legacySetup)) {
	tap := newVaultTap()
	c := talkative(t, tap)
	if change != nil {
		change(&c)
	}
	h := newLegacyHouse(t, c)
	h.start(t)
	h.setUp()
	h.prepare()
	texts := h.talk()
	h.collect(texts)
	eventually(t, "the calls are over", func() bool { return len(h.users())+len(h.tokens()) == 0 })
	h.stop(t)
	texts["stdout"], texts["stderr"] = []byte(h.stdout.String()), []byte(h.stderr.String())
	h.collectFiles(texts)
	if store != "" {
		collectTables(t, store, texts)
	}
	kinds := map[string]int{}
	for _, what := range tap.secrets {
		kinds[what]++
	}
	t.Logf("%v secrets in %d texts", kinds, len(texts))
	for _, what := range []string{"client_token", "password", "private_key", "key", "jwt"} {
		if kinds[what] == 0 {
			t.Errorf("no %s was seen, so its absence proves nothing", what)
		}
	}
	for _, found := range tap.find(texts) {
		t.Error(found)
	}
	tap.checkFinds(t)
}

// checkFinds plants each kind of secret in each form, and wants it found.
func (v *vaultTap) checkFinds(t *testing.T) {
	t.Helper()
	planted := map[string]bool{}
	for secret, what := range v.secrets {
		if planted[what] {
			continue
		}
		planted[what] = true
		for i, form := range spellings(secret) {
			where := fmt.Sprint("planted ", what, i)
			if found := v.find(map[string][]byte{where: slices.Concat([]byte("a log line with "), form, []byte(" in it"))}); len(found) == 0 {
				t.Errorf("the search does not find %s", where)
			}
		}
	}
}

// talk has everything said that the servers can say, and returns it.
func (h *legacyHouse) talk() map[string][]byte {
	h.t.Helper()
	texts := map[string][]byte{}
	for _, server := range []string{"reports", "ledger", "notes", "signer", "echoing"} {
		heard := func(header http.Header, body []byte) {
			texts[fmt.Sprint("answer ", len(texts), " of ", server)] = fmt.Append(nil, header, string(body))
		}
		c := caller{h: h, raw: h.token("alice", server, true), server: server, heard: heard}
		inSession, err := c.inSession(deadline(h.t))
		if err != nil {
			h.t.Fatalf("%s: %v", server, err)
		}
		for _, c := range []caller{c, inSession} {
			for _, sql := range []string{plain, "SELECT nothing FROM nowhere", "error", "500"} {
				_, err := c.query(deadline(h.t), sql)
				if good := sql == plain && (server == "reports" || server == "ledger"); good && err != nil {
					h.t.Errorf("%s: %v", server, err)
				}
			}
		}
		_, _, _ = inSession.post(deadline(h.t), http.Header{"Mcp-Session-Id": {inSession.session}, "Mcp-Protocol-Version": {legacy}}, `{"jsonrpc":"2.0","id":0,"method":"tools/list"}`)
	}
	h.checkMasked(texts)
	return texts
}

// checkMasked checks that hostile servers had their say, and were masked.
func (h *legacyHouse) checkMasked(texts map[string][]byte) {
	h.t.Helper()
	for _, server := range []string{"notes", "echoing"} {
		masked := 0
		for name, text := range texts {
			if strings.HasSuffix(name, server) {
				masked += bytes.Count(text, []byte("[credential]"))
			}
		}
		if masked == 0 {
			h.t.Errorf("nothing that %s said was masked", server)
		}
	}
}

// collect adds what operators are shown.
func (h *legacyHouse) collect(texts map[string][]byte) {
	h.t.Helper()
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		_, texts[path] = send(h.t, http.MethodGet, h.admin+path, nil, "")
	}
	for _, arguments := range [][]string{{"vault", "status", "--json", "--leases"}, {"vault", "status"}} {
		_, said := command(h.t, append(arguments, "--config", h.config)...)
		texts[strings.Join(arguments, " ")] = []byte(said)
	}
}

func (h *legacyHouse) collectFiles(texts map[string][]byte) {
	h.t.Helper()
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			texts[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// collectTables adds all that is in a PostgreSQL.
func collectTables(t *testing.T, store string, texts map[string][]byte) {
	t.Helper()
	all := 0
	for _, table := range strings.Fields(pgtest.Query(t, store, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")) {
		text := pgtest.Query(t, store, "SELECT t::text FROM \""+table+"\" t")
		texts["table "+table] = []byte(text)
		all += len(text)
	}
	if all < 1000 {
		t.Errorf("the tables have %d bytes, so what is not in them proves nothing", all)
	}
}
