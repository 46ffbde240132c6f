package vaultbridge_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

const day = 24 * time.Hour

// newEngines is a world whose calls may read what these tests set up.
func newEngines(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.do("sys/policies/acl/engines", map[string]any{"policy": `path "database/*" { capabilities = ["read"] }
		path "database/rotate-role/*" { capabilities = ["update"] }
		path "old/*" { capabilities = ["read"] }
		path "pki/issue/*" { capabilities = ["update"] }
		path "secret/*" { capabilities = ["read"] }`})
	w.role(map[string]any{"token_policies": []string{"calls", "engines"}})
	return w
}

// engine is a bridge to one server of the engine.
func (w *world) engine(change func(*vaultbridge.Server)) *vaultbridge.Bridge {
	w.t.Helper()
	return w.bridge(nil, w.server(change))
}

func inject(in credential.Injection) *credential.Template { return must(credential.Compile(in)) }

var keyHeader = inject(credential.Injection{Header: []credential.Field{{Name: "X-Key", Value: "{{.key}}"}}})

// kv writes a new version of a secret, and returns a change to the server of it.
func (w *world) kv(path, value string, change func(*vaultbridge.Server)) func(*vaultbridge.Server) {
	w.t.Helper()
	w.do("secret/data/"+path, map[string]any{"data": map[string]any{"key": value, "port": 5432}})
	return func(s *vaultbridge.Server) {
		s.Engine, s.Path, s.Inject = vaultbridge.KV, "secret/data/"+path, keyHeader
		s.WarnAge, s.MaxAge = 60*day, 90*day
		if change != nil {
			change(s)
		}
	}
}

func TestKVVersionIsTheOneThatIsPinned(t *testing.T) {
	w := newEngines(t)
	w.kv("reports", "the-first-key", nil)
	newest := w.kv("reports", "the-second-key", nil)
	for version, want := range map[int]string{0: "the-second-key secret/data/reports@2", 1: "the-first-key secret/data/reports@1", 2: "the-second-key secret/data/reports@2"} {
		c := w.obtain(w.engine(func(s *vaultbridge.Server) { newest(s); s.Version = version }), w.alice())
		if got := c.Header().Get("X-Key") + " " + c.Lease; got != want {
			t.Errorf("version %d: %s, want %s", version, got, want)
		}
		c.End()
	}
	w.nothingLeft()
}

func TestKVVersionThatIsGoneIsRefusedInWords(t *testing.T) {
	w := newEngines(t)
	for range 4 {
		w.kv("reports", "some-key-of-it", nil)
	}
	server := w.kv("reports", "some-key-of-it", nil)
	w.do("secret/delete/reports", map[string]any{"versions": []int{2}})
	w.do("secret/destroy/reports", map[string]any{"versions": []int{3}})
	for version, reason := range map[int]vault.Reason{2: vaultbridge.VersionGone, 3: vaultbridge.VersionGone, 9: vault.NotFound} {
		f := w.refused(w.engine(func(s *vaultbridge.Server) { server(s); s.Version = version }), w.alice(), reason)
		if reason == vaultbridge.VersionGone && !strings.Contains(f.Error(), fmt.Sprintf("version %d was deleted or destroyed", version)) {
			t.Errorf("version %d: %v", version, f)
		}
	}
	w.do("sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	w.do("old/data/reports", map[string]any{"key": "some-key-of-it"})
	if f := w.refused(w.engine(func(s *vaultbridge.Server) { server(s); s.Path = "old/data/reports" }), w.alice(), vault.Malformed); !strings.Contains(f.Error(), "KV version 2") {
		t.Errorf("KV version 1: %v", f)
	}
	w.nothingLeft()
}

// TestKeyThatIsTooOldIsRefused, and said to be old before.
func TestKeyThatIsTooOldIsRefused(t *testing.T) {
	w := newEngines(t)
	b := w.engine(w.kv("reports", "a-key-that-grows-old", nil))
	lines := func() int { return strings.Count(w.log.String(), "the key of a server is old") }
	for _, step := range []struct {
		after    time.Duration
		warnings int
	}{{0, 0}, {59 * day, 0}, {2 * day, 1}, {time.Hour, 1}, {day, 2}, {27 * day, 3}} {
		w.pass(step.after)
		w.obtain(b, w.alice()).End()
		if lines() != step.warnings {
			t.Errorf("after %v more: %d warnings, want %d", step.after, lines(), step.warnings)
		}
	}
	w.pass(day)
	f := w.refused(b, w.alice(), vaultbridge.KeyTooOld)
	if !strings.Contains(f.Error(), "90 days") || !strings.Contains(f.Error(), "vault kv put") || strings.Contains(w.log.String(), "a-key-that") {
		t.Errorf("%v\n%s", f, w.log)
	}
	if age := b.Status()[0].Age; age < 90*day || age > 91*day {
		t.Errorf("Status: %v old", age)
	}
	w.kv("reports", "a-new-key-for-it", nil)
	w.pass(-w.ahead)
	w.obtain(b, w.alice()).End()
	if age := b.Status()[0].Age; age > time.Hour {
		t.Errorf("Status of the new key: %v old", age)
	}
	w.pass(1000 * day)
	w.obtain(w.engine(w.kv("reports", "a-key-that-grows-old", func(s *vaultbridge.Server) { s.WarnAge, s.MaxAge = 0, 0 })), w.alice()).End()
	w.nothingLeft()
}

// static makes a user of PostgreSQL whose password Vault changes.
func (w *world) static() func(*vaultbridge.Server) {
	w.t.Helper()
	name := w.dbRole() + "_static"
	pgtest.Query(w.t, w.db, `CREATE ROLE "`+name+`" LOGIN PASSWORD 'of-old'`)
	w.t.Cleanup(func() { pgtest.Query(w.t, w.db, `DROP ROLE "`+name+`"`) })
	w.do("database/static-roles/"+name, map[string]any{"db_name": "pg", "username": name, "rotation_period": "240h"})
	return func(s *vaultbridge.Server) {
		s.Engine, s.Path, s.WarnAge, s.MaxAge = vaultbridge.DatabaseStatic, "database/static-creds/"+name, 5*day, 6*day
	}
}

func password(c *credential.Credential) string {
	r := http.Request{Header: c.Header()}
	_, p, _ := r.BasicAuth()
	return p
}

func TestStaticUserIsRotated(t *testing.T) {
	w := newEngines(t)
	server := w.static()
	w.do("sys/policies/acl/own", map[string]any{"policy": `path "auth/token/revoke-accessor" { capabilities = ["update"] }`})
	b := w.engine(server)
	before := w.obtain(b, w.alice())
	if err := b.Rotate(t.Context(), "reports"); err == nil || !strings.Contains(err.Error(), "database/rotate-role/"+w.dbRole()+"_static") {
		t.Errorf("Rotate without the right: %v, want an error that says which", err)
	}
	w.do("sys/policies/acl/own", map[string]any{"policy": `path "auth/token/revoke-accessor" { capabilities = ["update"] }
		path "database/rotate-role/*" { capabilities = ["update"] }`})
	hash := pgtest.Query(t, w.db, `SELECT rolpassword FROM pg_authid WHERE rolname = '`+user(before)+`'`)
	if err := b.Rotate(t.Context(), "reports"); err != nil {
		t.Fatal(err)
	}
	after := w.obtain(b, w.alice())
	if user(after) != user(before) || password(after) == password(before) || pgtest.Query(t, w.db, `SELECT rolpassword FROM pg_authid WHERE rolname = '`+user(before)+`'`) == hash {
		t.Error("after Rotate, it is as it was before")
	}
	if !closed(before.Done()) {
		t.Error("what had the old password goes on")
	}
	w.pass(7 * day)
	if f := w.refused(b, w.alice(), vaultbridge.KeyTooOld); !strings.Contains(f.Error(), "wicketgate vault rotate reports") {
		t.Error(f)
	}
	before.End()
	after.End()
	w.nothingLeft()
}

// TestKeptStaticUserEndsWithItsPassword: after it, the server would refuse it.
func TestKeptStaticUserEndsWithItsPassword(t *testing.T) {
	w := newEngines(t)
	w.role(map[string]any{"token_explicit_max_ttl": "600s", "token_policies": []string{"calls", "engines"}})
	server := w.static()
	w.do("database/static-roles/"+w.dbRole()+"_static", map[string]any{"db_name": "pg", "username": w.dbRole() + "_static", "rotation_period": "120s"})
	w.do("database/rotate-role/"+w.dbRole()+"_static", nil)
	b := w.engine(func(s *vaultbridge.Server) { server(s); s.Per, s.TTL = vaultbridge.PerSubject, 5*time.Minute })
	c := w.obtain(b, w.alice())
	w.pass(130 * time.Second)
	w.sweep(b)
	if !closed(c.Done()) {
		t.Error("it goes on with the password that was")
	}
	c.End()
	w.nothingLeft()
}

func TestOnlyWhatVaultRotatesIsRotated(t *testing.T) {
	w := newEngines(t)
	for name, test := range map[string]struct {
		server vaultbridge.Server
		want   string
	}{
		"kv":       {w.server(w.kv("reports", "some-key-of-it", nil)), "vault kv put"},
		"database": {w.server(nil), "each call has its own"},
		"each subject": {w.server(func(s *vaultbridge.Server) {
			s.Engine, s.Path = vaultbridge.DatabaseStatic, "database/static-creds/{{.subject}}"
		}), "rotate-role"},
	} {
		if err := w.bridge(nil, test.server).Rotate(t.Context(), "reports"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if err := w.engine(nil).Rotate(t.Context(), "elsewhere"); err == nil {
		t.Error("a server that there is not was rotated")
	}
}

// pki makes a CA and a role; it returns the CA's certificate.
func (w *world) pki(role map[string]any) *x509.CertPool {
	w.t.Helper()
	w.do("sys/mounts/pki", map[string]any{"type": "pki", "config": map[string]string{"max_lease_ttl": "87600h"}})
	ca := w.vault.Do(w.t, http.MethodPost, "pki/root/generate/internal", map[string]any{"common_name": "test CA", "ttl": "87600h", "key_type": "ec", "key_bits": 256})
	w.pkiRole(role)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca["data"].(map[string]any)["certificate"].(string)))
	return pool
}

func (w *world) pkiRole(change map[string]any) {
	w.t.Helper()
	role := map[string]any{"allow_any_name": true, "enforce_hostnames": false, "key_type": "ec", "key_bits": 256, "max_ttl": "8760h"}
	for k, v := range change {
		role[k] = v
	}
	w.do("pki/roles/reports", role)
}

// fetch reads what anybody may.
func (w *world) fetch(path string) []byte {
	w.t.Helper()
	resp := must(http.Get(w.vault.URL + "/v1/" + path))
	defer resp.Body.Close()
	return must(io.ReadAll(resp.Body))
}

func certificate(s *vaultbridge.Server) {
	s.Engine, s.Path, s.Inject = vaultbridge.PKI, "pki/issue/reports", inject(credential.Injection{ClientCertificate: true})
	s.Request = map[string]string{"common_name": "{{.subject}}"}
}

// TestCertificateIsIssuedForTheCall, and a server that trusts Vault's CA sees who calls.
func TestCertificateIsIssuedForTheCall(t *testing.T) {
	w := newEngines(t)
	pool := w.pki(nil)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	defer server.Close()
	tr := credential.NewTransport(http.DefaultTransport, server.Client().Transport.(*http.Transport))
	b := w.engine(certificate)
	for _, subject := range []string{"alice", "bob@example.com"} {
		c := w.obtain(b, w.call(subject, "editor", "reports"))
		req := must(http.NewRequestWithContext(credential.With(t.Context(), c), http.MethodGet, server.URL, nil))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got := string(must(io.ReadAll(resp.Body)))
		resp.Body.Close()
		if left := time.Until(c.Certificate().Leaf.NotAfter); got != subject || left > limit+5*time.Second || left < limit/2 || !strings.HasPrefix(c.Lease, "pki/issue/reports serial ") {
			t.Errorf("%s: the server saw %q; good for %v; %s", subject, got, left, c.Lease)
		}
		if !strings.Contains(strings.Join(c.Secrets(), "\n"), "PRIVATE KEY") {
			t.Error("the key is not among the secrets")
		}
		c.End()
		if !closed(c.Done()) {
			t.Error("the credential goes on")
		}
	}
	w.nothingLeft()
}

func TestCertificateThatOutlivesTheCallIsRefused(t *testing.T) {
	w := newEngines(t)
	w.pki(nil)
	w.refused(w.engine(func(s *vaultbridge.Server) { certificate(s); s.Request["ttl"] = "24h" }), w.alice(), vaultbridge.CertificateTTL)
	w.nothingLeft()
}

// TestCertificateWithALeaseIsRevoked, by either engine.
func TestCertificateWithALeaseIsRevoked(t *testing.T) {
	w := newEngines(t)
	w.pki(map[string]any{"generate_lease": true, "no_store": false, "max_ttl": "60s"})
	for _, engine := range []vaultbridge.Engine{vaultbridge.PKI, vaultbridge.Generic} {
		c := w.obtain(w.engine(func(s *vaultbridge.Server) { certificate(s); s.Engine = engine }), w.alice())
		if !strings.HasPrefix(c.Lease, "pki/issue/reports/") {
			t.Errorf("%s: lease %s", engine, c.Lease)
		}
		c.End()
		w.until("the certificate is revoked", func() bool {
			list := must(x509.ParseRevocationList(w.fetch("pki/crl")))
			return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				return e.SerialNumber.Cmp(c.Certificate().Leaf.SerialNumber) == 0
			})
		})
	}
	w.nothingLeft()
}

// TestSubjectCannotReadAnothersPath: its name is data, and never part of the way to data.
func TestSubjectCannotReadAnothersPath(t *testing.T) {
	w := newEngines(t)
	w.kv("admin/key", "the-key-of-admins", nil)
	w.kv("alice@example.com/key", "the-key-of-alice", nil)
	own := w.engine(w.kv("x/key", "another-key", func(s *vaultbridge.Server) { s.Path = "secret/data/{{.subject}}/key" }))
	var asked atomic.Int64
	w.gate.on("secret/", func() { asked.Add(1) })
	for _, subject := range []string{"..", ".", "...", "x/../admin", "../data/admin", "admin/key", "/admin", "admin%2fkey", "%2e%2e", `..\admin`, "admin?version=1", "admin#", "admin,root", "ädmin", "{{.subject}}", strings.Repeat("a", 129)} {
		w.refused(own, w.call(subject, "editor", "reports"), vaultbridge.BadSubject)
	}
	if asked.Load() > 0 {
		t.Error("Vault was asked for a secret")
	}
	w.pki(nil)
	w.refused(w.engine(certificate), w.call("alice,admin.example.com", "editor", "reports"), vaultbridge.BadSubject)
	c := w.obtain(own, w.call("alice@example.com", "editor", "reports"))
	if got := c.Header().Get("X-Key"); got != "the-key-of-alice" {
		t.Errorf("alice: %s", got)
	}
	c.End()
	w.nothingLeft()
}

func TestWhatAnEngineCannotDoIsRefusedAtTheStart(t *testing.T) {
	good := vaultbridge.Server{Name: "reports", Engine: vaultbridge.Generic, Path: "aws/sts/reports", Role: "calls", Limit: limit, Inject: keyHeader}
	for name, change := range map[string]func(*vaultbridge.Server){
		"no engine":                   func(s *vaultbridge.Server) { s.Engine = "" },
		"no path":                     func(s *vaultbridge.Server) { s.Path = "" },
		"a slash before":              func(s *vaultbridge.Server) { s.Path = "/aws/creds/x" },
		"a way up":                    func(s *vaultbridge.Server) { s.Path = "aws/../secret/data/x" },
		"another template":            func(s *vaultbridge.Server) { s.Path = "aws/creds/{{.client}}" },
		"a path of the command line":  func(s *vaultbridge.Server) { s.Engine, s.Path = vaultbridge.KV, "secret/reports" },
		"creds for static-creds":      func(s *vaultbridge.Server) { s.Engine, s.Path = vaultbridge.DatabaseStatic, "database/creds/x" },
		"static-creds for creds":      func(s *vaultbridge.Server) { s.Engine, s.Path = vaultbridge.Database, "database/static-creds/x" },
		"a certificate that is there": func(s *vaultbridge.Server) { s.Engine, s.Path = vaultbridge.PKI, "pki/cert/x" },
		"a version of no secret":      func(s *vaultbridge.Server) { s.Version = 1 },
		"a negative version":          func(s *vaultbridge.Server) { s.Engine, s.Path, s.Version = vaultbridge.KV, "secret/data/x", -1 },
		"a request that is not sent": func(s *vaultbridge.Server) {
			s.Engine, s.Path, s.Request = vaultbridge.KV, "secret/data/x", map[string]string{"a": "b"}
		},
		"a template in a request": func(s *vaultbridge.Server) { s.Request = map[string]string{"a": "{{.client}}"} },
		"nothing to inject":       func(s *vaultbridge.Server) { s.Inject = nil },
	} {
		s := good
		change(&s)
		if _, err := vaultbridge.New(vaultbridge.Config{JWTMount: "jwt", Servers: []vaultbridge.Server{s}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := vaultbridge.New(vaultbridge.Config{JWTMount: "jwt", Servers: []vaultbridge.Server{good}}); err != nil {
		t.Error(err)
	}
}
