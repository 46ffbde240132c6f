package vaulttest

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Relay is a way to a Vault that can be made bad: slow, one-way, and cut off.
type Relay struct {
	URL string

	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu          sync.Mutex // guards what follows
	changed     *sync.Cond // held did
	held        map[way]bool
	connections []net.Conn // both sides of each
	accepted    int
	ended       bool
}

// way is a direction of a connection.
type way string

const (
	requestWay way = "to Vault"
	answerWay  way = "from Vault"
)

// NewRelay makes a way to v until the end of the test. Its URL has v's scheme, and v's
// certificate is good for it.
func NewRelay(t testing.TB, v *Vault) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scheme, _, _ := strings.Cut(v.URL, "://")
	r := &Relay{URL: scheme + "://" + l.Addr().String(), listener: l, to: v.address}
	r.changed = sync.NewCond(&r.mu)
	r.running.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

// Stop forwards nothing any more. Connections stay, and new ones can be made: Vault is
// there, and does not answer.
func (r *Relay) Stop() { r.hold(true, true) }

// Mute forwards what is asked and not what is answered, so that with TLS no new connection
// can be made.
func (r *Relay) Mute() { r.hold(false, true) }

// Go is the end of Stop and Mute. What waited on connections that are still there arrives.
func (r *Relay) Go() { r.hold(false, false) }

func (r *Relay) hold(requests, answers bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = map[way]bool{requestWay: requests, answerWay: answers}
	r.changed.Broadcast()
}

// Cut ends every connection there is, and what waits in them is lost. New ones can be made.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.connections {
		_ = c.Close()
	}
	r.connections = nil
}

// Connections counts those that were ever made.
func (r *Relay) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted
}

func (r *Relay) close() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	_ = r.listener.Close()
	r.Cut()
	r.Go()
	r.running.Wait()
}

func (r *Relay) accept() {
	for {
		from, err := r.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = from.Close()
			continue
		}
		if !r.keep(from, to) {
			return
		}
		r.running.Go(func() { r.forward(to, from, requestWay) })
		r.running.Go(func() { r.forward(from, to, answerWay) })
	}
}

// keep notes a connection for Cut, unless it is the end.
func (r *Relay) keep(from, to net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		_, _ = from.Close(), to.Close()
		return false
	}
	r.connections = append(r.connections, from, to)
	r.accepted++
	return true
}

// forward copies from one side to the other while its way is open. When either side
// ends, both do.
func (r *Relay) forward(to, from net.Conn, w way) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			r.wait(w)
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				r.wait(w) // nor does the end of a connection get through
			}
			return
		}
	}
}

// wait returns when a way is open.
func (r *Relay) wait(w way) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.held[w] {
		r.changed.Wait()
	}
}
