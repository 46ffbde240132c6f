package gateway_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/credential"
)

// source is a CredentialSource that makes up its credentials: what is tested here is what
// the gateway does with one. The real one is proved against a real Vault, end to end. It
// counts, and each credential must end once.
type source struct {
	t        *testing.T
	template *credential.Template

	mu     sync.Mutex // guards what follows
	lent   []*made
	over   []string // sessions that were ended
	fails  error
	secret func(subject string) string // nil: a new one each time
	lasts  bool
}

// made is one credential.
type made struct {
	credential.Request
	secret string
	done   chan struct{}
	ended  int
}

// legacy makes the server of a world one that takes a name and a password in headers.
func legacy(t *testing.T, all bool) (*source, func(*gateway.Config)) {
	s := &source{t: t}
	s.template = must(credential.Compile(credential.Injection{Header: []credential.Field{{Name: "X-Db-User", Value: "{{.username}}"}, {Name: "X-Db-Password", Value: "{{.password}}"}}}))(t)
	t.Cleanup(func() { s.settled() })
	return s, func(c *gateway.Config) {
		c.Upstreams[0].Credentials, c.Upstreams[0].CredentialForAll = s, all
		c.Upstreams[0].Transport = credential.NewTransport(http.DefaultTransport, http.DefaultTransport.(*http.Transport))
	}
}

// Obtain implements gateway.CredentialSource.
func (s *source) Obtain(ctx context.Context, r credential.Request) (*credential.Credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.fails != nil {
		return nil, s.fails
	}
	subject := r.Call.Subject().String()
	m := &made{Request: r, secret: "pw-" + subject + "-" + rand.Text(), done: make(chan struct{})}
	if s.secret != nil {
		m.secret = s.secret(subject)
	}
	s.lent = append(s.lent, m)
	c, err := s.template.Render(map[string]string{"username": "db-" + subject, "password": m.secret})
	if err != nil {
		return nil, err
	}
	c.Lasts = s.lasts
	return c.Live(fmt.Sprintf("database/creds/mail/%d", len(s.lent)), m.done, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if m.ended++; m.ended > 1 {
			s.t.Errorf("the credential for %s ended %d times", m.Call.Details().Tool, m.ended)
		}
	}), nil
}

// EndSession implements gateway.CredentialSource.
func (s *source) EndSession(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = append(s.over, session)
}

func (s *source) all() []*made {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*made(nil), s.lent...)
}

// open counts those that have not ended.
func (s *source) open() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.lent {
		if m.ended == 0 {
			n++
		}
	}
	return n
}

// settled waits until all have ended.
func (s *source) settled() {
	s.t.Helper()
	for late := time.Now().Add(10 * time.Second); time.Now().Before(late); runtime.Gosched() {
		if s.open() == 0 {
			return
		}
	}
	s.t.Errorf("%d credentials have not ended", s.open())
}

// last is the newest.
func (s *source) last() *made {
	s.t.Helper()
	all := s.all()
	if len(all) == 0 {
		s.t.Fatal("no credential was obtained")
	}
	return all[len(all)-1]
}

// ended are the sessions that were.
func (s *source) ended() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.over...)
}

// everything that reached the server.
func (u *upstream) everything() []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]received(nil), u.got...)
}

// tokenless fails for anything of a token that reached the server.
func (w *world) tokenless(tokens ...string) {
	w.t.Helper()
	for _, got := range w.up.everything() {
		said := fmt.Sprint(got.header, got.body)
		if got.header.Get("Authorization") != "" || strings.Contains(said, "eyJ") {
			w.t.Errorf("%s came with a token: %v", got.method, got.header)
		}
		for _, raw := range tokens {
			if strings.Contains(said, raw) {
				w.t.Errorf("%s came with the caller's token", got.method)
			}
		}
	}
}
