package e2e_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wicketgate/wicketgate/internal/spiretest"
)

const (
	billingID     = "spiffe://example.org/agent/billing"
	spireAudience = "https://mcp.example.com" // an audience
)

// startSPIRE starts a server and an agent that knows this process by the entry.
func startSPIRE(t *testing.T, c spiretest.Config, e spiretest.Entry) (s *spiretest.Server, a *spiretest.Agent, entryID string) {
	t.Helper()
	s = spiretest.Start(t, c)
	a = s.StartAgent(t)
	entryID = s.CreateEntry(t, e)
	a.WaitForSVIDs(t, os.Getuid(), e.ID)
	return s, a, entryID
}

// workload is this process at the agent.
func workload(t *testing.T, a *spiretest.Agent) *workloadapi.Client {
	t.Helper()
	c, err := workloadapi.New(t.Context(), workloadapi.WithAddr(a.Socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func fetchJWT(t *testing.T, w *workloadapi.Client) *jwtsvid.SVID {
	t.Helper()
	svid, err := w.FetchJWTSVID(deadline(t), jwtsvid.Params{Audience: spireAudience})
	if err != nil {
		t.Fatal(err)
	}
	return svid
}

// updates are what the streams of the Workload API brought.
type updates struct {
	x509 chan *workloadapi.X509Context
	jwt  chan *jwtbundle.Set
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (u updates) OnX509ContextUpdate(c *workloadapi.X509Context) { u.x509 <- c }

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (u updates) OnX509ContextWatchError(error) {}

// OnJWTBundlesUpdate implements workloadapi.JWTBundleWatcher.
func (u updates) OnJWTBundlesUpdate(set *jwtbundle.Set) { u.jwt <- set }

// OnJWTBundlesWatchError implements workloadapi.JWTBundleWatcher.
func (u updates) OnJWTBundlesWatchError(error) {}

// watch follows both streams until the test ends.
func watch(t *testing.T, w *workloadapi.Client) updates {
	t.Helper()
	u := updates{make(chan *workloadapi.X509Context, 1000), make(chan *jwtbundle.Set, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- w.WatchX509Context(ctx, u) }()
	go func() { done <- w.WatchJWTBundles(ctx, u) }()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	return u
}

// until returns the first update with which something is so.
func until[T any](t *testing.T, stream <-chan T, what string, so func(T) bool) T {
	t.Helper()
	for ctx := deadline(t); ; {
		select {
		case v := <-stream:
			if so(v) {
				return v
			}
		case <-ctx.Done():
			t.Fatalf("no update with %s", what)
		}
	}
}

func authorities(c *workloadapi.X509Context, domain string) int {
	b, err := c.Bundles.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString(domain))
	if err != nil {
		return 0
	}
	return len(b.X509Authorities())
}

// jwtKeys are the IDs of the keys that sign JWT-SVIDs of a trust domain.
func jwtKeys(set *jwtbundle.Set, domain string) (ids []string) {
	b, ok := set.Get(spiffeid.RequireTrustDomainFromString(domain))
	if !ok {
		return nil
	}
	for id := range b.JWTAuthorities() {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func TestSPIREGivesWhatTheEntrySaysUntilItIsDeleted(t *testing.T) {
	t.Parallel()
	s, a, entry := startSPIRE(t, spiretest.Config{}, spiretest.Entry{
		ID: billingID, X509TTL: time.Hour, JWTTTL: time.Minute, DNSNames: []string{"billing.example.com"}})
	w := workload(t, a)
	x, err := w.FetchX509Context(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	leaf := x.DefaultSVID().Certificates[0]
	if got := time.Until(leaf.NotAfter); x.DefaultSVID().ID.String() != billingID || !slices.Equal(leaf.DNSNames, []string{"billing.example.com"}) ||
		got > time.Hour || got < 50*time.Minute {
		t.Errorf("X.509-SVID of %s, names %v, for %s; want %s, its name, an hour", x.DefaultSVID().ID, leaf.DNSNames, got, billingID)
	}
	bundles, err := w.FetchJWTBundles(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	j, err := jwtsvid.ParseAndValidate(fetchJWT(t, w).Marshal(), bundles, []string{spireAudience})
	if err != nil || j.ID.String() != billingID || time.Until(j.Expiry) > time.Minute {
		t.Errorf("JWT-SVID %+v, error %v, want one of %s for a minute", j, err, billingID)
	}

	s.DeleteEntry(t, entry)
	a.WaitForSVIDs(t, os.Getuid())
	if _, err := w.FetchJWTSVID(deadline(t), jwtsvid.Params{Audience: spireAudience}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("JWT-SVID after the entry was deleted: %v, want PermissionDenied", err)
	}
}

func TestSPIRETellsUsersApart(t *testing.T) {
	t.Parallel()
	const other = 1
	s, a, _ := startSPIRE(t, spiretest.Config{}, spiretest.Entry{ID: billingID})
	a.WaitForSVIDs(t, other)
	s.CreateEntry(t, spiretest.Entry{ID: "spiffe://example.org/agent/report", Selectors: []string{spiretest.User(other)}})
	a.WaitForSVIDs(t, other, "spiffe://example.org/agent/report")
	a.WaitForSVIDs(t, os.Getuid(), billingID)
}

func TestSPIRERotatesSVIDsInSeconds(t *testing.T) {
	t.Parallel()
	_, a, _ := startSPIRE(t, spiretest.Config{X509TTL: 6 * time.Second}, spiretest.Entry{ID: billingID})
	seen := map[string]bool{}
	until(t, watch(t, workload(t, a)).x509, "a fourth X.509-SVID", func(c *workloadapi.X509Context) bool {
		seen[c.DefaultSVID().Certificates[0].SerialNumber.String()] = true
		return len(seen) == 4
	})
}

func TestSPIREReplacesItsAuthorities(t *testing.T) {
	t.Parallel()
	s, a, _ := startSPIRE(t, spiretest.Config{}, spiretest.Entry{ID: billingID})
	w := workload(t, a)
	u := watch(t, w)
	oldX, oldJ := s.Active(t, spiretest.X509), s.Active(t, spiretest.JWT)
	newX, newJ := s.Prepare(t, spiretest.X509), s.Prepare(t, spiretest.JWT)
	both := []string{oldJ, newJ}
	slices.Sort(both)
	until(t, u.x509, "two X.509 authorities", func(c *workloadapi.X509Context) bool { return authorities(c, "example.org") == 2 })
	until(t, u.jwt, "two JWT authorities", func(set *jwtbundle.Set) bool { return slices.Equal(jwtKeys(set, "example.org"), both) })

	s.Activate(t, spiretest.X509, newX)
	s.Activate(t, spiretest.JWT, newJ)
	s.Taint(t, spiretest.X509, oldX)
	s.Taint(t, spiretest.JWT, oldJ)
	until(t, u.x509, "an X.509-SVID of the new authority", func(c *workloadapi.X509Context) bool {
		return hex.EncodeToString(c.DefaultSVID().Certificates[0].AuthorityKeyId) == newX
	})
	if key := s.JWTKey(t); s.Active(t, spiretest.JWT) != newJ || key.KeyID != newJ {
		t.Errorf("the key %s signs JWT-SVIDs, JWTKey is %s, want %s", s.Active(t, spiretest.JWT), key.KeyID, newJ)
	}

	s.Revoke(t, spiretest.X509, oldX)
	s.Revoke(t, spiretest.JWT, oldJ)
	until(t, u.x509, "one X.509 authority", func(c *workloadapi.X509Context) bool { return authorities(c, "example.org") == 1 })
	now := until(t, u.jwt, "one JWT authority", func(set *jwtbundle.Set) bool { return slices.Equal(jwtKeys(set, "example.org"), []string{newJ}) })
	if _, err := jwtsvid.ParseAndValidate(fetchJWT(t, w).Marshal(), now, []string{spireAudience}); err != nil {
		t.Errorf("a JWT-SVID after the old authority was revoked: %v", err)
	}
}

func TestSPIREComesBackAsItWas(t *testing.T) {
	t.Parallel()
	s, a, _ := startSPIRE(t, spiretest.Config{}, spiretest.Entry{ID: billingID})
	before := string(s.Bundle(t))
	s.Stop()
	a.WaitForSVIDs(t, os.Getuid(), billingID) // the agent has it still
	a.Stop()
	w := workload(t, a)
	if _, err := w.FetchX509Context(deadline(t)); status.Code(err) != codes.Unavailable {
		t.Errorf("X.509-SVID of an agent that is down: %v, want Unavailable", err)
	}
	s.Restart(t)
	a.Restart(t)
	a.WaitForSVIDs(t, os.Getuid(), billingID)
	if diff := cmp.Diff(before, string(s.Bundle(t))); diff != "" {
		t.Errorf("the bundle after a restart (-before +after):\n%s", diff)
	}
}

// TestSPIREOfTheReferenceDeployment registers what deploy/spire/entries.sh does, twice,
// with users of this machine for those of the deployment.
func TestSPIREOfTheReferenceDeployment(t *testing.T) {
	t.Parallel()
	partner := spiretest.Start(t, spiretest.Config{TrustDomain: "partner.example", BundleEndpoint: true})
	s := spiretest.Start(t, spiretest.Config{BundleEndpoint: true})
	a := s.StartAgent(t)
	handedOver := filepath.Join(t.TempDir(), "partner.json")
	if err := os.WriteFile(handedOver, partner.Bundle(t), 0o600); err != nil {
		t.Fatal(err)
	}
	partner.Prepare(t, spiretest.X509) // only who fetches the bundle sees it
	workloads := []struct {
		uid            int
		user, id, name string
	}{
		{os.Getuid(), "wicketgate", "/wicketgate", "mcp.example.com"}, {1, "billing-agent", "/agent/billing", ""},
		{2, "report-agent", "/agent/report", ""}, {3, "mcp-mail", "/mcp/mail", "mail.internal.example.com"},
	}
	edits := []string{"\n#partner", "\npartner", "\n#federates", "\nfederates",
		"https://spire.partner.example:8443", partner.BundleURL, "/etc/spire/partner.example.json", handedOver}
	for _, w := range workloads {
		edits = append(edits, "unix:user:"+w.user, userSelector(t, w.uid))
	}
	s.RunEntries(t, edits...)
	s.RunEntries(t, edits...)
	for _, w := range workloads {
		a.WaitForSVIDs(t, w.uid, "spiffe://example.org"+w.id)
	}
	c := until(t, watch(t, workload(t, a)).x509, "both authorities of the partner", func(c *workloadapi.X509Context) bool { return authorities(c, "partner.example") == 2 })
	if diff := cmp.Diff([]string{"mcp.example.com"}, c.DefaultSVID().Certificates[0].DNSNames); diff != "" {
		t.Errorf("DNS names of Wicketgate (-want +got):\n%s", diff)
	}
}

// userSelector is how the agent knows that user by name.
func userSelector(t *testing.T, uid int) string {
	t.Helper()
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		t.Fatal(err)
	}
	return "unix:user:" + u.Username
}

// killedVariable makes this test binary one that is killed.
const killedVariable = "WICKETGATE_TEST_SPIRE_KILLED"

// TestSPIREOfATestThatIsKilled is run by TestSPIREEndsWithTheTestThatIsKilled.
func TestSPIREOfATestThatIsKilled(t *testing.T) {
	if os.Getenv(killedVariable) == "" {
		t.Skip("for another test")
	}
	fmt.Println(strings.TrimPrefix(spiretest.Start(t, spiretest.Config{}).StartAgent(t).Socket, "unix://"))
	select {}
}

func TestSPIREEndsWithTheTestThatIsKilled(t *testing.T) {
	t.Parallel()
	spiretest.Start(t, spiretest.Config{}) // skips where there is none
	cmd := exec.Command(os.Args[0], "-test.run=^TestSPIREOfATestThatIsKilled$")
	cmd.Env = append(os.Environ(), killedVariable+"=1", "WICKETGATE_BINARY="+binary)
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	agent := strings.TrimSpace(line)
	dir := filepath.Dir(filepath.Dir(agent))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var connections []net.Conn
	for _, socket := range []string{agent, filepath.Join(dir, "server", "api.sock")} {
		c, dialErr := net.Dial("unix", socket)
		if err = errors.Join(err, dialErr); dialErr == nil {
			connections = append(connections, c)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		t.Fatalf("a test with SPIRE: %v, after %q", err, line)
	}
	for _, c := range connections {
		_ = c.SetDeadline(time.Now().Add(startWithin))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s is served after the test was killed", c.RemoteAddr())
		}
		_ = c.Close()
	}
}
