package oidc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/oidc"
)

const (
	redirectURI = "https://wicketgate.example/oauth2/callback"
	clientID    = "wicketgate"
	secret      = "s3cr+t: %/&=" // form-encoded before it is in a header, RFC 6749 §2.3.1
)

type object = map[string]any

// clock is the time as a Provider sees it.
type clock struct {
	mu     sync.Mutex // guards offset
	offset time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// logs is what was logged.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// world is a Provider with what is around it.
type world struct {
	*oidc.Provider
	clock *clock
	log   *logs
}

func newWorld(t *testing.T, issuer string, change func(*oidc.Config)) world {
	t.Helper()
	w := world{clock: &clock{}, log: &logs{}}
	cfg := config(issuer)
	cfg.Log, cfg.Now = slog.New(slog.NewTextHandler(w.log, nil)), w.clock.now
	if change != nil {
		change(&cfg)
	}
	var err error
	if w.Provider, err = oidc.New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func config(issuer string) oidc.Config {
	return oidc.Config{
		Issuer: issuer, ClientID: clientID, ClientSecret: oidc.NewSecret(secret), RedirectURI: redirectURI,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
}

func newLogin() authz.LoginRequest {
	return authz.LoginRequest{State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text()}
}

func (w world) begin(ctx context.Context, t *testing.T, l authz.LoginRequest) string {
	t.Helper()
	u, err := w.Begin(ctx, l)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return u
}

// wantRefusal checks what the person is told and what the log says: both, for a
// login can be refused for the wrong reason.
func wantRefusal(t *testing.T, err error, code oauth.ErrorCode, cause string) {
	t.Helper()
	var wire *oauth.Error
	if !errors.As(err, &wire) || wire.Code != code {
		t.Fatalf("err = %v, want %s", err, code)
	}
	if wire.Description == "" || wire.Cause == nil || !strings.Contains(wire.Cause.Error(), cause) {
		t.Errorf("err = %v, want a description, and a cause with %q", err, cause)
	}
}

func query(t *testing.T, u string) url.Values {
	t.Helper()
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Query()
}
