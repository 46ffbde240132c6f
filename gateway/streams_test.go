package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// revocable is a world that knows of revocations, and beats when the test says.
type revocable struct {
	*world
	metronome
	view *revocation.View
}

func newRevocable(t *testing.T, change ...func(*gateway.Config)) *revocable {
	t.Helper()
	r := &revocable{}
	revocations := func(c *gateway.Config) {
		r.view = revocation.NewView(revocation.Config{Store: c.Pins.(revocation.Store), Issuer: issuer, Now: c.Now})
		ring := must(keys.Open(t.Context(), c.Pins.(*sqlite.Store), keys.KEK{1}, c.Now))(t)
		c.Verifier = token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: ring, Now: c.Now, Revocations: r.view})
		c.Freezes = r.view
		if err := r.view.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r.world = newWorld(t, append(change, r.config, revocations)...)
	return r
}

func (r *revocable) poll() {
	r.t.Helper()
	if err := r.view.Poll(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// advance lets time pass for a process that asks for revocations all the time.
func (r *revocable) advance(d time.Duration) {
	r.t.Helper()
	for ; d > 0; d -= 4 * time.Second {
		r.now.Advance(min(d, 4*time.Second))
		r.poll()
	}
}

func (r *revocable) revoke(e revocation.Entry) {
	r.t.Helper()
	if err := r.store.Revoke(r.t.Context(), e); err != nil {
		r.t.Fatal(err)
	}
	r.poll()
}

// longStreams opens each kind of stream that has no end, for alice.
func (r *revocable) longStreams(lifetime time.Duration) (map[string]*http.Response, token.Access) {
	w := r.world
	w.t.Helper()
	raw, access := w.access(tokenSpec{subject: "alice", scope: allScopes, lifetime: lifetime})
	s := session{w, raw, w.do("POST", w.url, raw, initialize).header.Get("Mcp-Session-Id")}
	listening := s.listen(w.t.Context())
	subscribed := w.send(w.t.Context(), request{bearer: raw, method: "subscriptions/listen", params: `"notifications":{"toolsListChanged":true},`})
	if listening.StatusCode != 200 || subscribed.StatusCode != 200 {
		w.t.Fatalf("GET %s, subscriptions/listen %s", listening.Status, subscribed.Status)
	}
	r.beatOnce(2)
	return map[string]*http.Response{"GET": listening, "subscriptions/listen": subscribed}, access
}

// beatOnce beats as soon as so many streams wait for it: what they remember of the time at
// which they were opened is set from then on.
func (r *revocable) beatOnce(n int) {
	for !r.running(n) {
		runtime.Gosched()
	}
	r.beat()
}

// quiet has the upstream's GET stream say nothing.
func (u *upstream) quiet() {
	u.on("", func(w http.ResponseWriter, r *http.Request) {
		events(w)
		<-r.Context().Done()
	})
}

// A17: what lets a stream begin ends it with itself: a revocation of the token, the grant,
// the client or the subject, a freeze, ignorance, and the end of the access token.
func TestLongStreamEndsWithWhatLetItBegin(t *testing.T) {
	frozen := func(kind revocation.Kind, name string, now time.Time) revocation.Entry {
		e := revocation.New(kind, name, now)
		e.Frozen = true
		return e
	}
	for name, tt := range map[string]struct {
		happens func(*revocable, token.Access)
		reason  string
	}{
		"the token is revoked":        {func(r *revocable, a token.Access) { r.revoke(revocation.New(revocation.Token, a.ID(), r.now.Now())) }, "token_revoked"},
		"the grant is revoked":        {func(r *revocable, a token.Access) { r.revoke(revocation.New(revocation.Grant, a.Txn(), r.now.Now())) }, "token_revoked"},
		"the subject is revoked":      {func(r *revocable, _ token.Access) { r.revoke(revocation.New(revocation.Subject, "alice", r.now.Now())) }, "token_revoked"},
		"the client is revoked":       {func(r *revocable, _ token.Access) { r.revoke(revocation.New(revocation.Client, "editor", r.now.Now())) }, "token_revoked"},
		"the subject is frozen":       {func(r *revocable, _ token.Access) { r.revoke(frozen(revocation.Subject, "alice", r.now.Now())) }, "frozen"},
		"the server is frozen":        {func(r *revocable, _ token.Access) { r.revoke(frozen(revocation.Server, "mail", r.now.Now())) }, "server_frozen"},
		"nobody knows what is":        {func(r *revocable, _ token.Access) { r.now.Advance(revocation.MaxAge + time.Second) }, "revocations_stale"},
		"the access token has passed": {func(r *revocable, _ token.Access) { r.advance(5 * time.Minute) }, "token_expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRevocable(t)
			r.up.sessionsOnly()
			r.up.quiet()
			streams, access := r.longStreams(5 * time.Minute)
			other := r.world.send(t.Context(), request{bearer: r.token(tokenSpec{subject: "bob", client: identityOf("another"), lifetime: time.Hour}), method: "subscriptions/listen", params: `"notifications":{"toolsListChanged":true},`})
			r.beatOnce(3)
			tt.happens(r, access)
			r.beat()
			for kind, resp := range streams {
				if rest, err := io.ReadAll(resp.Body); err != nil || strings.Contains(string(rest), "code") {
					t.Errorf("%s: the end: %q, %v", kind, rest, err)
				}
			}
			if name != "the server is frozen" && name != "nobody knows what is" && name != "the grant is revoked" {
				if r.gateway.Stats()[0].Streams == 0 {
					t.Error("bob's ended, too")
				}
			}
			for _, action := range []string{"GET", "subscriptions/listen"} {
				found := ""
				for found == "" { // it is written before the client sees the end, or right after
					for _, e := range r.lines() {
						if e.Kind == "outcome" && e.Action == action && e.Subject == "alice" {
							found = e.Status
						}
					}
				}
				if found != tt.reason {
					t.Errorf("%s: audit says %s, want %s", action, found, tt.reason)
				}
			}
			other.Body.Close()
		})
	}
}

// A23: a call that was allowed outlives its access token, and a refreshed one goes on in
// the session; that of another subject does not.
func TestTokenIsRefreshedInTheMiddleOfACall(t *testing.T) {
	r := newRevocable(t)
	alice := r.session(tokenSpec{subject: "alice", lifetime: time.Minute})
	alice.call(listMessages)
	arrived, finish := make(chan struct{}), make(chan struct{})
	r.up.on("tools/call", func(rw http.ResponseWriter, req *http.Request) {
		say := events(rw)
		say(event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}`))
		close(arrived)
		<-finish
		say(event("", `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`))
	})
	_, rest := alice.begin("working")
	<-arrived
	r.beatOnce(1)
	r.advance(2 * time.Minute)
	r.beat()
	if reply := alice.post(`{"jsonrpc":"2.0","id":8,"method":"ping"}`); reply.status != http.StatusUnauthorized {
		t.Errorf("with the old token: %s", reply)
	}
	refreshed := alice
	refreshed.bearer = r.token(tokenSpec{subject: "alice"})
	if reply := refreshed.post(`{"jsonrpc":"2.0","id":8,"method":"ping"}`); reply.status != 200 {
		t.Errorf("with the new one: %s", reply)
	}
	for name, spec := range map[string]tokenSpec{"another subject": {subject: "bob"}, "another client": {subject: "alice", client: identityOf("another")}} {
		other := alice
		other.bearer = r.token(spec)
		if reply := other.post(`{"jsonrpc":"2.0","id":8,"method":"ping"}`); reply.status != http.StatusNotFound || r.last().Reason != "session_not_the_callers" {
			t.Errorf("%s: %s, audit %+v", name, reply, r.last())
		}
	}
	close(finish)
	if got := until(t, rest, `"id":7`); !strings.Contains(got, `"result"`) {
		t.Errorf("the call: %s", got)
	}
}

// A17: a call that is under way ends when its token is revoked, at its server too.
func TestCallEndsWhenItsTokenIsRevoked(t *testing.T) {
	r := newRevocable(t)
	alice := r.session(tokenSpec{subject: "alice"})
	alice.call(listMessages)
	given := make(chan struct{})
	r.up.on("tools/call", func(rw http.ResponseWriter, req *http.Request) {
		defer close(given)
		events(rw)(event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}`))
		<-req.Context().Done()
	})
	_, rest := alice.begin("working")
	r.beatOnce(1)
	r.revoke(revocation.New(revocation.Subject, "alice", r.now.Now()))
	r.beat()
	if got := until(t, rest, `"id":7`); !strings.Contains(got, `"error":{"code":403`) || !strings.Contains(got, "revoked") {
		t.Errorf("the client got %s", got)
	}
	<-given // up by the gateway
	r.untilOutcomes(2)
	if e := r.outcome("tools/call"); e.Reason != "token_revoked" {
		t.Errorf("audit %+v", e)
	}
}

// switched is a PDP that can be replaced.
type switched struct{ pdp atomic.Pointer[policies.PDP] }

func (s *switched) Decide(ctx context.Context, q policies.Request) policies.Decision {
	return s.pdp.Load().Decide(ctx, q)
}
func (s *switched) Digest() string { return s.pdp.Load().Digest() }

func (s *switched) load(t *testing.T, access string) {
	s.pdp.Store(must(policies.New(t.Context(), policies.Config{Access: []byte(access)}))(t))
}

// Another policy changes what everybody sees; an approval, the tools of a server: whoever
// listens is told.
func TestListChangedAfterAnotherPolicyOrAnApproval(t *testing.T) {
	var pdp switched
	pdp.load(t, wide)
	r := newRevocable(t, func(c *gateway.Config) { c.TrustFirstUse, c.PDP = false, &pdp })
	r.up.sessionsOnly()
	r.up.quiet()
	streams, _ := r.longStreams(time.Hour)
	get, subscription := lines(streams["GET"]), lines(streams["subscriptions/listen"])
	until(t, subscription, "notifications/subscriptions/acknowledged")
	pdp.load(t, accessYAML)
	r.beat()
	for _, want := range []string{"tools", "prompts", "resources"} {
		if got := until(t, get, "data:"); !strings.Contains(got, `"method":"notifications/`+want+`/list_changed"`) {
			t.Errorf("after another policy the GET stream says %s, want %s", got, want)
		}
	}
	if got := until(t, subscription, "data:"); !strings.Contains(got, `"notifications/tools/list_changed"`) || !strings.Contains(got, `"io.modelcontextprotocol/subscriptionId":7`) {
		t.Errorf("after another policy the subscription says %s", got)
	}
	if err := r.gateway.Discover(t.Context(), "mail"); err != nil {
		t.Fatal(err)
	}
	r.beat()
	pins := must(r.store.Pins(t.Context(), "mail"))(t)
	if err := r.store.OrderTool(t.Context(), gateway.Order{Action: gateway.Approve, Server: "mail", Tool: pins[0].Tool, Digest: pins[0].Digest, By: "operator", At: r.now.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := r.gateway.PollPins(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.beat()
	// What was not asked for did not come in between: the next is that of the tools.
	for kind, from := range map[string]string{"GET": until(t, get, "data:"), "subscriptions/listen": until(t, subscription, "data:")} {
		if !strings.Contains(from, `"notifications/tools/list_changed"`) {
			t.Errorf("after an approval, %s says %s", kind, from)
		}
	}
}

// A stream that says nothing is kept alive by comments, which clients ignore.
func TestQuietStreamIsKeptAlive(t *testing.T) {
	r := newRevocable(t)
	r.up.sessionsOnly()
	r.up.quiet()
	streams, _ := r.longStreams(time.Hour)
	from := map[string]*bufio.Scanner{"GET": lines(streams["GET"]), "subscriptions/listen": lines(streams["subscriptions/listen"])}
	for range 2 {
		r.advance(16 * time.Second)
		r.beat()
		for kind, from := range from {
			for from.Scan() && from.Text() != ":" {
			}
			if from.Text() != ":" {
				t.Errorf("%s: no comment: %v", kind, from.Err())
			}
		}
	}
}

// The same for a call, whose answer takes long.
func TestQuietCallIsKeptAlive(t *testing.T) {
	r := newRevocable(t)
	s := r.session(tokenSpec{subject: "alice"})
	s.call(listMessages)
	finish := make(chan struct{})
	r.up.on("tools/call", func(rw http.ResponseWriter, req *http.Request) {
		say := events(rw)
		say(event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}`))
		<-finish
		say(event("", `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`))
	})
	_, rest := s.begin("working")
	r.beatOnce(1)
	r.advance(16 * time.Second)
	r.beat()
	for rest.Scan() && rest.Text() != ":" {
	}
	if rest.Text() != ":" {
		t.Errorf("no comment: %v", rest.Err())
	}
	close(finish)
	if got := until(t, rest, `"id":7`); !strings.Contains(got, `"result"`) {
		t.Errorf("%s", got)
	}
}

// The news of a server pass only where the caller may have them.
func TestNewsOfAServerAreFiltered(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	w.up.on("", func(rw http.ResponseWriter, r *http.Request) {
		say := events(rw)
		for _, m := range []string{`"notifications/resources/updated","params":{"uri":"mail://drafts/2"}`, `"notifications/tasks/status","params":{"taskId":"t"}`, `"notifications/initialized"`, `"x"`,
			`"notifications/resources/updated","params":{"uri":"mail://inbox/1"}`, `"notifications/tools/list_changed"`} {
			say(event("theirs-9", `{"jsonrpc":"2.0","method":`+m+`}`))
		}
	})
	s := w.session(tokenSpec{subject: "alice", scope: allScopes})
	r := read(t, s.listen(t.Context()))
	if strings.Contains(r.body, "drafts") || strings.Contains(r.body, "tasks") || strings.Contains(r.body, `"x"`) || strings.Contains(r.body, "theirs-9") ||
		strings.Count(r.body, "data: ") != 2 || !strings.Contains(r.body, "mail://inbox/1") || !strings.Contains(r.body, "tools/list_changed") || strings.Count(r.body, "\nid: ") > 2 {
		t.Errorf("%s", r)
	}
	// A stream that belongs to no request has no answers.
	w.up.goesOn(`{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}`)
	if r := read(t, s.listen(t.Context())); strings.Contains(r.body, "result") {
		t.Errorf("an answer to nothing: %s", r)
	}
}
