package gateway_test

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// hubOf has the upstream, of the session era, say on its stream what the test sends.
func (u *upstream) hubOf() (say chan string, subscribed chan string) {
	u.sessionsOnly()
	say, subscribed = make(chan string), make(chan string, 100)
	u.on("", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet { // an answer to the server
			subscribed <- "answer " + memberOf(r, "id") + memberOf(r, "result") + memberIn(memberOf(r, "error"), "code")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		write := events(w)
		for {
			select {
			case m, ok := <-say:
				if !ok {
					return
				}
				write(event("", m))
			case <-r.Context().Done():
				return
			}
		}
	})
	for _, method := range []string{"resources/subscribe", "resources/unsubscribe"} {
		u.on(method, func(w http.ResponseWriter, r *http.Request) {
			subscribed <- method + " " + memberOf(r, ".uri")
			u.result(w, r, `{}`)
		})
	}
	return say, subscribed
}

func updated(uri string) string {
	return `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"` + uri + `"}}`
}

const changedTools, changedPrompts = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`, `{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`

// subscribe opens subscriptions/listen with that id.
func (w *world) subscribe(ctx context.Context, bearer, id, notifications string) *http.Response {
	w.t.Helper()
	return w.send(ctx, request{bearer: bearer, id: id, method: "subscriptions/listen", params: `"notifications":` + notifications + `,`})
}

const anyNews = `{"toolsListChanged":true,"resourceSubscriptions":["mail://inbox/1","mail://drafts/2"]}`

// A subscription is acknowledged first, and then has the kinds and the resources that it
// asked for, of which it is told only what its caller may read.
func TestSubscriptionHasWhatItAskedForAndMayRead(t *testing.T) {
	for _, kind := range []string{"session", "stateless"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, policy(t, wide))
			said := []string{changedPrompts, updated("mail://drafts/2"), updated("mail://inbox/3"), `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`, changedTools, updated("mail://inbox/1")}
			asked := make(chan string, 1)
			if kind == "session" {
				say, _ := w.up.hubOf()
				go func() {
					for _, m := range said {
						select {
						case say <- m:
						case <-t.Context().Done():
						}
					}
				}()
			} else {
				w.up.statelessOnly()
				w.up.on("subscriptions/listen", func(rw http.ResponseWriter, r *http.Request) {
					asked <- memberOf(r, ".notifications")
					write := events(rw)
					write(event("", `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["mail://inbox/1","mail://drafts/2","mail://inbox/3"]}}}`))
					for _, m := range said {
						write(event("", m))
					}
					<-r.Context().Done()
				})
			}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			from := lines(w.subscribe(ctx, w.token(tokenSpec{subject: "alice", scope: allScopes}), `"s-1"`, anyNews))
			want := []string{`"params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s-1"},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["mail://inbox/1"]}}`, `tools/list_changed`, `"uri":"mail://inbox/1"`}
			for _, w := range want {
				if got := until(t, from, "data: "); !strings.Contains(got, w) || !strings.Contains(got, `"io.modelcontextprotocol/subscriptionId":"s-1"`) {
					t.Errorf("got %s, want %s", got, w)
				}
			}
			if kind == "stateless" {
				if got := <-asked; got != `{"toolsListChanged":true,"resourceSubscriptions":["mail://inbox/1"]}` {
					t.Errorf("the server was asked for %s", got)
				}
			}
		})
	}
}

// An upstream that sends news before it acknowledges is no subscription.
func TestSubscriptionThatIsNotAcknowledgedFirst(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	w.up.statelessOnly()
	w.up.on("subscriptions/listen", func(rw http.ResponseWriter, r *http.Request) { events(rw)(event("", changedTools)) })
	if r := read(t, w.subscribe(t.Context(), w.token(tokenSpec{subject: "alice", scope: allScopes}), "7", anyNews)); !strings.Contains(r.body, "upstream_malformed") {
		t.Errorf("%s", r)
	}
}

// The end of a subscription by the server has the completion result.
func TestSubscriptionThatTheServerEnds(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	w.up.statelessOnly()
	w.up.on("subscriptions/listen", func(rw http.ResponseWriter, r *http.Request) {
		write := events(rw)
		write(event("", `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true}}}`))
		write(event("", `{"jsonrpc":"2.0","id":`+idOf(r)+`,"result":{"resultType":"complete","secret":1}}`))
		<-r.Context().Done()
	})
	r := read(t, w.subscribe(t.Context(), w.token(tokenSpec{subject: "alice", scope: allScopes}), "7", anyNews))
	if !strings.Contains(r.body, `"id":7,"result":{"resultType":"complete","_meta"`) || strings.Contains(r.body, "secret") || w.last().Status != "ended_by_server" {
		t.Errorf("%s, audit %+v", r, w.last())
	}
}

// Two subscriptions of a caller share the one stream that a session has, and each has what
// it asked for; a resource is subscribed to once, and left with the last that had it.
func TestSubscriptionsShareTheStreamOfTheSession(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	say, told := w.up.hubOf()
	bearer := w.token(tokenSpec{subject: "alice", scope: allScopes})
	first, leave := context.WithCancel(t.Context())
	a := lines(w.subscribe(first, bearer, "1", `{"toolsListChanged":true,"resourceSubscriptions":["mail://inbox/1","mail://inbox/1"]}`))
	until(t, a, "acknowledged")
	if got := <-told; got != `resources/subscribe "mail://inbox/1"` {
		t.Error(got)
	}
	second, leaveToo := context.WithCancel(t.Context())
	defer leaveToo()
	b := lines(w.subscribe(second, bearer, "2", `{"promptsListChanged":true,"resourceSubscriptions":["mail://inbox/1"]}`))
	until(t, b, "acknowledged")
	for _, m := range []string{changedTools, changedPrompts, updated("mail://inbox/1")} {
		say <- m
	}
	for _, want := range []struct {
		id   string
		from interface {
			Scan() bool
			Text() string
		}
		news string
	}{{"1", a, "tools/list_changed"}, {"1", a, "mail://inbox/1"}, {"2", b, "prompts/list_changed"}, {"2", b, "mail://inbox/1"}} {
		for want.from.Scan() && !strings.HasPrefix(want.from.Text(), "data:") {
		}
		if got := want.from.Text(); !strings.Contains(got, want.news) || !strings.Contains(got, `"io.modelcontextprotocol/subscriptionId":`+want.id) {
			t.Errorf("subscription %s got %s, want %s", want.id, got, want.news)
		}
	}
	if n := len(w.up.calls("initialize")); n != 1 || len(told) != 0 {
		t.Errorf("%d sessions, %d more subscriptions", n, len(told))
	}
	leave()
	for w.gateway.Stats()[0].Streams > 1 { // until the gateway has noticed
		runtime.Gosched()
	}
	if len(told) != 0 {
		t.Errorf("the resource was left though somebody has it: %s", <-told)
	}
	leaveToo()
	if got := <-told; got != `resources/unsubscribe "mail://inbox/1"` {
		t.Error(got)
	}
}

// When the stream of the session ends, so do the subscriptions that shared it, and the next
// one has a new stream.
func TestSubscriptionsEndWithTheStreamOfTheSession(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	say, _ := w.up.hubOf()
	bearer := w.token(tokenSpec{subject: "alice", scope: allScopes})
	a, b := w.subscribe(t.Context(), bearer, "1", `{"toolsListChanged":true}`), w.subscribe(t.Context(), bearer, "2", `{"toolsListChanged":true}`)
	say <- changedTools // the stream is open
	close(say)
	read(t, a)
	read(t, b)
	again, _ := w.up.hubOf()
	c := lines(w.subscribe(t.Context(), bearer, "3", `{"toolsListChanged":true}`))
	until(t, c, "acknowledged")
	again <- changedTools
	until(t, c, "list_changed")
}

// A server is answered on the stream that the gateway keeps: there is nobody to ask, and a
// ping is the gateway's to answer.
func TestRequestOnTheStreamThatTheGatewayKeeps(t *testing.T) {
	w := newWorld(t, policy(t, wide))
	say, told := w.up.hubOf()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	until(t, lines(w.subscribe(ctx, w.token(tokenSpec{subject: "alice", scope: allScopes}), "1", `{"toolsListChanged":true}`)), "acknowledged")
	say <- `{"jsonrpc":"2.0","id":"p","method":"ping"}`
	say <- `{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}`
	for _, want := range []string{`answer "p"{}`, `answer "q"-32601`} {
		if got := <-told; got != want {
			t.Errorf("the server was told %s, want %s", got, want)
		}
	}
}
