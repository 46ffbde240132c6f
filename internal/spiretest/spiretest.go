// Package spiretest gives tests a real SPIRE: servers, each for a trust domain, agents
// with a Workload API, and what an administrator can do.
//
// The configuration is the one of deploy/spire, with a test's own folders and ports, so
// that what operators take is tried. SPIRE looks for changes every 0.1 to 0.2 s instead
// of every 5 s. Nothing is written anew here that SPIRE has a command for.
package spiretest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/freeport"
)

// Config says how a server differs from deploy/spire/server.conf.
type Config struct {
	TrustDomain string // example.org when empty

	// Lifetimes; zero is that of the file. There is no minimum for an SVID's. Below 2
	// minutes, CATTL does not leave the server the time to replace its keys.
	X509TTL, JWTTTL, AgentTTL, CATTL time.Duration

	// Root is the authority above the server's own. Nil: there is none, and the
	// server's own are in the bundle.
	Root *tls.Certificate

	// BundleEndpoint has the server offer its bundle, in profile https_spiffe.
	BundleEndpoint bool
	// WebCertificate makes that profile https_web, with this certificate.
	WebCertificate *tls.Certificate
}

// Server is a SPIRE server.
type Server struct {
	TrustDomain string
	BundleURL   string // of the bundle endpoint, if there is one

	programs programs
	dir      string // of everything; others may pass
	own      string // of the server; they may not
	port     string
	agents   int
	process  *process
}

// Start starts a server, which is stopped at the end of the test.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	s := &Server{TrustDomain: c.TrustDomain, programs: need(t), port: freeport.Port(t)}
	if s.TrustDomain == "" {
		s.TrustDomain = "example.org"
	}
	s.makeFolders(t)
	s.configure(t, c)
	s.Restart(t)
	return s
}

// makeFolders keeps to short names, since the path of a socket has 104 bytes at most.
func (s *Server) makeFolders(t testing.TB) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wicketgate-spire-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.dir, s.own = dir, filepath.Join(dir, "server")
	if err := os.Chmod(dir, 0o711); err != nil { // the users of other workloads are let through
		t.Fatal(err)
	}
	if err := os.Mkdir(s.own, 0o700); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) configure(t testing.TB, c Config) {
	t.Helper()
	f := readConf(t, "server.conf")
	f.set("bind_address", `"127.0.0.1"`)
	f.set("bind_port", quote(s.port))
	f.set("trust_domain", quote(s.TrustDomain)+"\n  experimental { cache_reload_interval = \"100ms\" }")
	ttls := map[string]time.Duration{
		"default_x509_svid_ttl": c.X509TTL, "default_jwt_svid_ttl": c.JWTTTL, "agent_ttl": c.AgentTTL, "ca_ttl": c.CATTL,
	}
	for key, ttl := range ttls {
		if ttl != 0 {
			f.set(key, quote(ttl.String()))
		}
	}
	if c.Root != nil {
		f.uncomment("UpstreamAuthority")
		writePair(t, filepath.Join(s.own, "root"), c.Root)
		f.replace("/etc/spire", s.own)
	}
	if c.BundleEndpoint {
		s.offer(t, f, c.WebCertificate)
	}
	f.replace("/var/lib/spire/server", s.own)
	f.replace("/run/spire/server", s.own)
	f.write(s.file("server.conf"))
}

// offer adds the bundle endpoint.
func (s *Server) offer(t testing.TB, f *conf, web *tls.Certificate) {
	t.Helper()
	port := freeport.Port(t)
	s.BundleURL = "https://127.0.0.1:" + port
	f.uncomment("federation")
	f.set("address", `"127.0.0.1"`)
	f.set("port", port)
	if web != nil {
		writePair(t, s.file("web"), web)
		f.replace(`profile "https_spiffe" {}`, fmt.Sprintf(`profile "https_web" {
      serving_cert_file {
        cert_file_path = %q
        key_file_path = %q
        file_sync_interval = "1h"
      }
    }`, s.file("web.pem"), s.file("web.key")))
	}
}

// Stop kills the server. What it has on its disk stays.
func (s *Server) Stop() { s.process.stop() }

// Restart starts the server again with the same data and port, after Stop or at once.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	s.process = start(t, s.own, s.programs.server, "run", "-config", s.file("server.conf"))
	s.process.await(t, func() error {
		return exec.Command(s.programs.server, "healthcheck", "-socketPath", s.file("api.sock")).Run()
	})
}

func (s *Server) file(name string) string { return filepath.Join(s.own, name) }

// command runs a command of spire-server and returns what it printed.
func (s *Server) command(t testing.TB, args ...string) []byte {
	t.Helper()
	return s.commandWith(t, nil, args...)
}

func (s *Server) commandWith(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.programs.server, append(args, "-socketPath", s.file("api.sock"))...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("spire-server %v: %v\n%s%s", args, err, out, stderr.String())
	}
	return out
}

// ask runs a command that answers with JSON.
func (s *Server) ask(t testing.TB, answer any, args ...string) {
	t.Helper()
	if out := s.command(t, append(args, "-output", "json")...); json.Unmarshal(out, answer) != nil {
		t.Fatalf("spire-server %v: not the JSON that was expected: %s", args, out)
	}
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

// writePair writes path.pem and path.key.
func writePair(t testing.TB, path string, pair *tls.Certificate) {
	t.Helper()
	var chain []byte
	for _, der := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".pem", chain)
	write(t, path+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}
