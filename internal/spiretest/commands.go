package spiretest

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Entry registers a workload.
type Entry struct {
	ID              string        // its SPIFFE ID
	Selectors       []string      // how an agent knows it; the test's own user when empty
	X509TTL, JWTTTL time.Duration // whole seconds; zero is the server's
	DNSNames        []string
	FederatesWith   []string // trust domains
}

// User is the selector of the processes of a user.
func User(uid int) string { return fmt.Sprint("unix:uid:", uid) }

// CreateEntry registers a workload at every agent and returns the entry's ID.
func (s *Server) CreateEntry(t testing.TB, e Entry) string {
	t.Helper()
	args := []string{"entry", "create", "-parentID", s.Node(), "-spiffeID", e.ID,
		"-x509SVIDTTL", seconds(e.X509TTL), "-jwtSVIDTTL", seconds(e.JWTTTL)}
	if len(e.Selectors) == 0 {
		e.Selectors = []string{User(os.Getuid())}
	}
	for _, selector := range e.Selectors {
		args = append(args, "-selector", selector)
	}
	for _, name := range e.DNSNames {
		args = append(args, "-dns", name)
	}
	for _, domain := range e.FederatesWith {
		args = append(args, "-federatesWith", "spiffe://"+domain)
	}
	var answer struct {
		Results []struct{ Entry struct{ ID string } }
	}
	if s.ask(t, &answer, args...); len(answer.Results) != 1 {
		t.Fatalf("entry create made %d entries", len(answer.Results))
	}
	return answer.Results[0].Entry.ID
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// DeleteEntry takes back CreateEntry. Agents then give no SVID; those that they gave
// are good until they end.
func (s *Server) DeleteEntry(t testing.TB, entryID string) {
	t.Helper()
	s.command(t, "entry", "delete", "-entryID", entryID)
}

// RunEntries runs deploy/spire/entries.sh, with pairs of texts replaced.
func (s *Server) RunEntries(t testing.TB, pairs ...string) {
	t.Helper()
	f := readConf(t, "entries.sh")
	f.replace("/run/spire/server", s.own)
	for i := 0; i < len(pairs); i += 2 {
		f.replace(pairs[i], pairs[i+1])
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", f.text)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(s.programs.server)+string(os.PathListSeparator)+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("entries.sh: %v\n%s", err, out)
	}
}

// Bundle is the trust domain's, as a SPIFFE bundle document.
func (s *Server) Bundle(t testing.TB) []byte {
	t.Helper()
	return s.command(t, "bundle", "show", "-format", "spiffe")
}

// SetBundle tells the server, and the workloads whose entries say that they federate
// with it, the bundle of another trust domain.
func (s *Server) SetBundle(t testing.TB, trustDomain string, bundle []byte) {
	t.Helper()
	s.commandWith(t, bundle, "bundle", "set", "-id", "spiffe://"+trustDomain, "-format", "spiffe")
}

// MintX509 makes an X.509-SVID that needs no entry and no agent.
func (s *Server) MintX509(t testing.TB, id string, ttl time.Duration, dnsNames ...string) tls.Certificate {
	t.Helper()
	dir := t.TempDir()
	args := []string{"x509", "mint", "-spiffeID", id, "-ttl", ttl.String(), "-write", dir}
	for _, name := range dnsNames {
		args = append(args, "-dns", name)
	}
	s.command(t, args...)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "svid.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// MintJWT makes a JWT-SVID that needs no entry and no agent.
func (s *Server) MintJWT(t testing.TB, id string, ttl time.Duration, audiences ...string) string {
	t.Helper()
	args := []string{"jwt", "mint", "-spiffeID", id, "-ttl", ttl.String()}
	for _, audience := range audiences {
		args = append(args, "-audience", audience)
	}
	return strings.TrimSpace(string(s.command(t, args...)))
}

// Authority is a kind of signing key.
type Authority string

// The two kinds.
const (
	X509 Authority = "x509"
	JWT  Authority = "jwt"
)

type authorityState struct {
	ID string `json:"authority_id"`
}

// Prepare makes the next authority and has it in the bundle. Whoever verifies should
// have that bundle before the authority is activated.
func (s *Server) Prepare(t testing.TB, kind Authority) (id string) {
	t.Helper()
	var answer struct {
		Authority authorityState `json:"prepared_authority"`
	}
	s.ask(t, &answer, "localauthority", string(kind), "prepare")
	return answer.Authority.ID
}

// Activate has a prepared authority sign from now on.
func (s *Server) Activate(t testing.TB, kind Authority, id string) {
	t.Helper()
	s.command(t, "localauthority", string(kind), "activate", "-authorityID", id)
}

// Taint has the agents replace at once what an authority signed that no longer does.
func (s *Server) Taint(t testing.TB, kind Authority, id string) {
	t.Helper()
	s.command(t, "localauthority", string(kind), "taint", "-authorityID", id)
}

// Revoke takes a tainted authority out of the bundle.
func (s *Server) Revoke(t testing.TB, kind Authority, id string) {
	t.Helper()
	s.command(t, "localauthority", string(kind), "revoke", "-authorityID", id)
}

// Active is the ID of the authority that signs.
func (s *Server) Active(t testing.TB, kind Authority) string {
	t.Helper()
	var answer struct{ Active authorityState }
	s.ask(t, &answer, "localauthority", string(kind), "show")
	return answer.Active.ID
}

// JWTKey is the private key of the active JWT authority, to sign with it what SPIRE
// never would. Its KeyID is the one in the bundle.
func (s *Server) JWTKey(t testing.TB) jose.JSONWebKey {
	t.Helper()
	id := s.Active(t, JWT)
	var bundle jose.JSONWebKeySet
	if err := json.Unmarshal(s.Bundle(t), &bundle); err != nil {
		t.Fatal(err)
	}
	for _, key := range s.keys(t) {
		for _, public := range bundle.Key(id) {
			if key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(public.Key) {
				return jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(jose.ES256)}
			}
		}
	}
	t.Fatalf("the server has no key for its JWT authority %s", id)
	return jose.JSONWebKey{}
}

// keys are the private keys of the server's KeyManager.
func (s *Server) keys(t testing.TB) (keys []crypto.Signer) {
	t.Helper()
	b, err := os.ReadFile(s.file("keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Keys map[string][]byte }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, der := range file.Keys {
		key, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(crypto.Signer))
	}
	return keys
}
