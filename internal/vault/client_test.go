package vault_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// TestEnvironmentIsNotRead: whoever can set a variable would have our tokens, and a shell
// that was set up for Vault's own command line would change what the product does. Some
// values are nonsense: who reads them fails.
func TestEnvironmentIsNotRead(t *testing.T) {
	v := vaulttest.StartTLS(t)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Error("asked by the environment: ", r.URL) }))
	t.Cleanup(thief.Close)
	for name, value := range map[string]string{
		"VAULT_ADDR": thief.URL, "VAULT_AGENT_ADDR": thief.URL, "VAULT_PROXY_ADDR": thief.URL, "VAULT_HTTP_PROXY": thief.URL, "VAULT_TOKEN": "hvs.stolen",
		"VAULT_NAMESPACE": "nowhere", "VAULT_SKIP_VERIFY": "perhaps", "VAULT_CACERT": "/nowhere", "VAULT_CACERT_BYTES": "none", "VAULT_CAPATH": "/nowhere",
		"VAULT_CLIENT_CERT": "/nowhere", "VAULT_CLIENT_KEY": "/nowhere", "VAULT_CLIENT_TIMEOUT": "0.001", "VAULT_MAX_RETRIES": "many", "VAULT_RATE_LIMIT": "none",
		"VAULT_SRV_LOOKUP": "perhaps", "VAULT_TLS_SERVER_NAME": "elsewhere", "VAULT_HEADERS": "{", "VAULT_WRAP_TTL": "60s", "VAULT_DISABLE_REDIRECTS": "perhaps",
		"HTTP_PROXY": thief.URL, "HTTPS_PROXY": thief.URL, "https_proxy": thief.URL, "ALL_PROXY": thief.URL, "NO_PROXY": "",
	} {
		t.Setenv(name, value)
	}
	c, err := vault.New(vault.Config{Address: v.URL, CAs: v.CAs, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Write(t.Context(), root, "secret/data/x", map[string]any{"data": map[string]string{"k": "v"}}); err != nil {
		t.Fatal(err)
	}
	s, err := c.Read(t.Context(), root, "secret/data/x", nil)
	if data, _ := s.Data["data"].(map[string]any); err != nil || data["k"] != "v" {
		t.Errorf("Read: %v (VAULT_WRAP_TTL wraps answers)", err)
	}
	if err := read(t, c, vault.Token{}, "secret/data/x"); err == nil {
		t.Error("without a token there was one")
	}
	plain, err := vault.New(vault.Config{Address: v.URL, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	reason(t, "VAULT_SKIP_VERIFY", read(t, plain, root, "secret/data/x"), vault.Unreachable)
}

// TestNothingAsksForTheEnvironment reads the sources: what makes a client of the library's
// reads some twenty variables.
func TestNothingAsksForTheEnvironment(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"api.NewClient", "api.DefaultConfig", "os.Getenv", "os.LookupEnv", "os.Environ", "ProxyFromEnvironment", "http.DefaultTransport", "http.DefaultClient"} {
			if !strings.HasSuffix(file, "_test.go") && strings.Contains(string(b), word) {
				t.Errorf("%s has %s", file, word)
			}
		}
	}
}

func TestRedirectDoesNotTakeTheToken(t *testing.T) {
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Error("the redirect was followed, with the token ", r.Header.Get("X-Vault-Token"))
	}))
	t.Cleanup(thief.Close)
	for status, want := range map[int]vault.Reason{307: vault.Sealed, 301: vault.Malformed, 302: vault.Malformed, 308: vault.Malformed} {
		c := fake(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL+r.URL.Path, status)
		})
		reason(t, "read", read(t, c, root, "secret/data/x"), want)
		_, err := c.LoginAppRole(t.Context(), "approle", "role", "secret")
		reason(t, "login", err, want)
		reason(t, "health", c.Health(t.Context()), want)
	}
}

// TestLostAnswerIsNotAskedForAgain: a read of database/creds that is sent twice makes two
// users, and nobody knows of the first. net/http does that on connections that it kept.
func TestLostAnswerIsNotAskedForAgain(t *testing.T) {
	v := vaulttest.Start(t)
	file := v.Audit(t)
	relay := vaulttest.NewRelay(t, v)
	c := client(t, relay.URL)
	reason(t, "first", read(t, c, root, "secret/data/first"), vault.NotFound)
	relay.Mute()
	done := make(chan error)
	go func() { done <- read(t, c, root, "secret/data/lost") }()
	for asked(t, file, "secret/data/lost") == 0 {
		<-time.After(time.Millisecond)
	}
	if relay.Connections() != 1 {
		t.Fatal("the connection was not kept: this shows nothing")
	}
	relay.Cut()
	relay.Go()
	reason(t, "lost", <-done, vault.Unreachable)
	reason(t, "last", read(t, c, root, "secret/data/last"), vault.NotFound)
	if n := asked(t, file, "secret/data/lost"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// asked counts the requests of a path.
func asked(t *testing.T, file, path string) (n int) {
	t.Helper()
	for _, l := range vaulttest.ReadAudit(t, file) {
		if l.Type == "request" && l.Request.Path == path {
			n++
		}
	}
	return n
}

func TestConnectionsAreKeptAndBounded(t *testing.T) {
	v := vaulttest.Start(t)
	relay := vaulttest.NewRelay(t, v)
	c := client(t, relay.URL)
	for range 20 {
		reason(t, "one after the other", read(t, c, root, "secret/data/x"), vault.NotFound)
	}
	if n := relay.Connections(); n != 1 {
		t.Errorf("%d connections for requests one after the other", n)
	}
	relay.Stop()
	var all sync.WaitGroup
	var failed atomic.Int64
	for range 100 {
		all.Go(func() {
			var e *vault.Error
			if err := read(t, c, root, "secret/data/x"); !errors.As(err, &e) || e.Why != vault.NotFound {
				failed.Add(1)
			}
		})
	}
	for relay.Connections() < 64 {
		<-time.After(time.Millisecond)
	}
	relay.Go()
	all.Wait()
	if n := relay.Connections(); n != 64 || failed.Load() > 0 {
		t.Errorf("%d connections for 100 requests at once, %d failed", n, failed.Load())
	}
	c.Close()
	reason(t, "after Close", read(t, c, root, "secret/data/x"), vault.Canceled)
}

func TestPathIsThePathThatWasWritten(t *testing.T) {
	c := fake(t, func(_ http.ResponseWriter, r *http.Request) { t.Error("asked: ", r.URL) })
	for _, path := range []string{"", "/secret/x", "secret/../sys/seal", "secret/./x", "secret//x", "secret/x/", "secret/%2e%2e/x", `secret\x`, "secret/x\n", ".."} {
		reason(t, path, read(t, c, root, path), vault.Refused)
		_, err := c.LoginJWT(t.Context(), path+"/..", "r", "x")
		reason(t, "mount "+path, err, vault.Refused)
	}
	var got string
	c = fake(t, func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI })
	_, _ = c.Read(t.Context(), root, "secret/data/a?b#c d", url.Values{"version": {"3"}})
	if got != "/v1/secret/data/a%3Fb%23c%20d?version=3" {
		t.Errorf("asked for %s", got)
	}
}

func TestAddressIsHTTPSOrThisMachine(t *testing.T) {
	for _, address := range []string{"", "vault", "vault:8200", "http://vault.example.com:8200", "http://10.0.0.1", "unix:///x", "https://u:p@vault", "https://vault/x", "https://vault?x", "ftp://vault"} {
		if _, err := vault.New(vault.Config{Address: address}); err == nil {
			t.Errorf("New with address %q does not fail", address)
		}
	}
	for _, address := range []string{"https://vault.example.com", "https://vault.example.com:8200/", "http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost:8200"} {
		if _, err := vault.New(vault.Config{Address: address}); err != nil {
			t.Errorf("New with address %q: %v", address, err)
		}
	}
}

// TestNamespaceIsSentWithAllButHealth, which Vault Enterprise has in the root namespace
// only. The real Vault here is not Enterprise, and knows no other namespace.
func TestNamespaceIsSentWithAllButHealth(t *testing.T) {
	got := map[string]string{}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got[r.URL.Path] = r.Header.Get("X-Vault-Namespace") + "," + r.Header.Get("X-Vault-Request")
	}))
	t.Cleanup(s.Close)
	c, err := vault.New(vault.Config{Address: s.URL, Namespace: "team"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, _ = read(t, c, root, "a"), c.Health(t.Context()), c.RevokeLease(t.Context(), root, "x")
	if got["/v1/a"] != "team,true" || got["/v1/sys/health"] != ",true" || got["/v1/sys/leases/revoke"] != "team,true" {
		t.Errorf("namespaces: %v", got)
	}
}
