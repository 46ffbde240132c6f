package webhook_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMessageArrivesSigned(t *testing.T) {
	w, r := newWorld(t), receive(t)
	e := w.endpoint(r.URL+"/hooks/a", secret)
	s := w.sender(w.open(), e)
	w.put(s, `{"type":"approval.requested"}`)
	w.put(s, `{"type":"approval.approved"}`)
	w.deliver(s, e)
	w.deliver(s, e)
	got := r.arrived(t)
	if len(got) != 2 || got[0].id == got[1].id || !strings.HasPrefix(got[0].id, "msg_") {
		t.Errorf("arrived: %v", got)
	}
	if want := map[string]int{"delivered": 2}; !maps.Equal(w.outcomes, want) {
		t.Errorf("outcomes %v, want %v", w.outcomes, want)
	}
}

// TestBothSecretsSign lets a receiver change from one secret to the next.
func TestBothSecretsSign(t *testing.T) {
	for _, its := range []string{secret, second} {
		w, r := newWorld(t), receive(t)
		r.secret = its
		e := w.endpoint(r.URL, second+"\n"+secret+"\n")
		s := w.sender(w.open(), e)
		w.put(s, `{}`)
		w.deliver(s, e)
		if len(r.arrived(t)) != 1 {
			t.Error("nothing arrived")
		}
	}
}

// TestRefusedMessageIsTriedAgain with the same id, later and later.
func TestRefusedMessageIsTriedAgain(t *testing.T) {
	w, r := newWorld(t), receive(t, 500, 429)
	e := w.endpoint(r.URL, secret)
	s := w.sender(w.open(), e)
	w.put(s, `{}`)
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {4 * time.Second, 1}, {2 * time.Second, 2}, {29 * time.Second, 2}, {5 * time.Second, 3}, {24 * time.Hour, 3}} {
		w.pass(step.after)
		w.deliver(s, e)
		if got := r.arrived(t); len(got) != step.want || got[0] != got[len(got)-1] {
			t.Errorf("%v later: %v, want %d", step.after, got, step.want)
		}
	}
	if strings.Count(w.log.String(), "level=WARN") != 1 || strings.Contains(w.log.String(), "level=ERROR") {
		t.Errorf("log: %s", w.log.String())
	}
}

// TestDownReceiverGetsItAfterARestart: neither its end nor ours loses a message.
func TestDownReceiverGetsItAfterARestart(t *testing.T) {
	w, r := newWorld(t), receive(t)
	r.Close()
	store := w.open()
	e := w.endpoint(r.URL+"/s3cret-path", secret)
	s := w.sender(store, e)
	w.put(s, `{"n":1}`)
	w.deliver(s, e)
	if log := w.log.String(); !strings.Contains(log, "connection refused") || strings.Contains(log, "s3cret") {
		t.Errorf("log: %s", log)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	up := receiveAt(t, strings.TrimPrefix(r.URL, "http://"))
	w.pass(6 * time.Second)
	s = w.sender(w.open(), e)
	w.deliver(s, e)
	if got := up.arrived(t); len(got) != 1 || got[0].body != `{"n":1}` {
		t.Errorf("arrived: %v", got)
	}
}

// TestRedirectTakesNoMessageElsewhere: whoever answers could else have it posted to any
// machine that we reach (acceptance A27).
func TestRedirectTakesNoMessageElsewhere(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		w, r := newWorld(t), receive(t, status, status)
		e := w.endpoint(r.URL, secret)
		s := w.sender(w.open(), e)
		w.put(s, `{}`)
		w.deliver(s, e)
		if got := r.arrived(t); len(got) != 1 || w.outcomes["failed"] != 1 {
			t.Errorf("%d: %v, %v", status, got, w.outcomes)
		}
	}
}

func TestMessageIsGivenUpAfterADay(t *testing.T) {
	w := newWorld(t)
	r := receive(t, slices.Repeat([]int{503}, 100)...)
	e := w.endpoint(r.URL+"/hooks/s3cret-path", secret)
	s := w.sender(w.open(), e)
	w.put(s, `{}`)
	began := w.clock()
	for w.outcomes["given_up"] == 0 && w.clock().Sub(began) < 7*24*time.Hour {
		w.deliver(s, e)
		w.pass(time.Minute)
	}
	if d := w.clock().Sub(began); d < 23*time.Hour || d > 28*time.Hour || len(r.arrived(t)) != 11 {
		t.Errorf("given up after %v and %d attempts", d, len(r.arrived(t)))
	}
	if log := w.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "answered 503") || strings.Contains(log, "s3cret") {
		t.Errorf("log: %s", log)
	}
	w.pass(24 * time.Hour)
	w.deliver(s, e)
	if len(r.arrived(t)) != 11 {
		t.Error("it was tried once more")
	}
}

func TestGoneEndsIt(t *testing.T) {
	w, r := newWorld(t), receive(t, 410)
	e := w.endpoint(r.URL, secret)
	s := w.sender(w.open(), e)
	w.put(s, `{}`)
	w.deliver(s, e)
	w.pass(time.Hour)
	w.deliver(s, e)
	if len(r.arrived(t)) != 1 || w.outcomes["given_up"] != 1 {
		t.Errorf("%v, %v", r.arrived(t), w.outcomes)
	}
}

// TestReplicasSendEachOnce: 4 processes, 40 messages.
func TestReplicasSendEachOnce(t *testing.T) {
	w, r := newWorld(t), receive(t)
	e := w.endpoint(r.URL, secret)
	s := w.sender(w.open(), e)
	for range 40 {
		w.put(s, `{}`)
	}
	var wg sync.WaitGroup
	for range 4 {
		replica := w.sender(w.open(), e)
		wg.Go(func() { w.deliver(replica, e) })
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, m := range r.arrived(t) {
		if seen[m.id] {
			t.Errorf("%s arrived twice", m.id)
		}
		seen[m.id] = true
	}
	if len(seen) != 40 {
		t.Errorf("%d arrived", len(seen))
	}
}

// TestProcessThatDiesWhileSendingLosesNoMessage: its lease ends.
func TestProcessThatDiesWhileSendingLosesNoMessage(t *testing.T) {
	w, r := newWorld(t), receive(t)
	e := w.endpoint(r.URL, secret)
	store := w.open()
	s := w.sender(store, e)
	w.put(s, `{}`)
	if all, err := store.TakeMessages(t.Context(), e.ID(), 8, w.clock(), w.clock().Add(time.Minute)); err != nil || len(all) != 1 {
		t.Fatal(all, err) // and no more is heard of that process
	}
	w.pass(59 * time.Second)
	w.deliver(s, e)
	if len(r.arrived(t)) != 0 {
		t.Error("it was taken from a process that had it")
	}
	w.pass(time.Second)
	w.deliver(s, e)
	if len(r.arrived(t)) != 1 {
		t.Error("it is lost")
	}
}

// TestStopIsNoFailure: a process that stops while it sends leaves the message as it is.
func TestStopIsNoFailure(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body) // else nobody sees that we hang up
		cancel()
		<-q.Context().Done()
	}))
	defer hang.Close()
	e := w.endpoint(hang.URL, secret)
	s := w.sender(w.open(), e)
	w.put(s, `{}`)
	if err := s.Deliver(ctx, e); err != nil || len(w.outcomes) != 0 {
		t.Errorf("%v, %v", err, w.outcomes)
	}
}

// TestMessageOfAnEndpointThatIsGoneGoesNowhere: neither to another one nor on its own.
func TestMessageOfAnEndpointThatIsGoneGoesNowhere(t *testing.T) {
	w, old, now := newWorld(t), receive(t), receive(t)
	e := w.endpoint(now.URL, secret)
	store := w.open()
	w.put(w.sender(store, w.endpoint(old.URL, secret)), `{}`)
	w.deliver(w.sender(store, e), e)
	if len(old.arrived(t))+len(now.arrived(t)) != 0 {
		t.Error("it arrived")
	}
}
