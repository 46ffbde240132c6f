package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	loginTimeout = 30 * time.Second // of a login or a renewal, with everything
	firstPause   = time.Second      // after a login that failed; doubled from then on
	longestPause = 10 * time.Second
	settled      = time.Minute // a token that Vault refuses within it was hardly revoked by a person
)

// ErrClosed is returned when an Own is used after Close.
var ErrClosed = errors.New("vault: our login is closed")

// ErrNotYet is what State says before the first login has been tried.
var ErrNotYet = errors.New("we have not logged in yet")

// Login logs in.
type Login func(context.Context) (Auth, error)

// OwnConfig configures an Own.
type OwnConfig struct {
	Client *Client
	Login  Login
	Log    *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now
}

// Own is a login of our own, in memory alone. It logs in when a token is first asked for,
// and Keep renews it at two thirds of its life. It logs in anew when Vault does not renew
// it any more, or says that there is no such token. One login is under way at a time, and
// what failed is tried again after 1, 2, 4, 8, and then every 10 seconds.
//
// A token that is replaced is left to expire, because tokens below it may be in use.
// It is safe for concurrent use.
type Own struct {
	cfg    OwnConfig
	ctx    context.Context // ends at Close
	cancel context.CancelFunc

	mu       sync.Mutex // guards what follows
	held     held
	former   []held
	flight   chan struct{} // closed when what is under way has ended; nil: nothing is
	err      error         // why the last attempt failed
	failures int           // in a row
	refusals int           // of young tokens, in a row
	next     time.Time     // no attempt before
	closed   bool
}

// Format says nothing of what is inside.
func (*Own) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "our login at Vault") }

// held is a token and its times. The zero expires of one that is set: never.
type held struct {
	Auth
	since, renew, expires time.Time
}

func newHeld(a Auth, now time.Time) held {
	h := held{Auth: a, since: now}
	if a.TTL > 0 {
		h.renew, h.expires = now.Add(a.TTL*2/3), now.Add(a.TTL)
	}
	return h
}

func (h held) alive(now time.Time) bool {
	return !h.Token.IsZero() && (h.expires.IsZero() || now.Before(h.expires))
}

func (h held) due(now time.Time) bool {
	return !h.expires.IsZero() && !now.Before(h.renew)
}

// NewOwn makes an Own that has not logged in.
func NewOwn(cfg OwnConfig) *Own {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	o := &Own{cfg: cfg}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// Token returns the token, and logs in when there is none. While logins fail it returns at
// once why.
func (o *Own) Token(ctx context.Context) (Token, error) {
	for tried := false; ; tried = true {
		o.mu.Lock()
		switch now := o.cfg.Now(); {
		case o.closed:
			o.mu.Unlock()
			return Token{}, ErrClosed
		case o.held.alive(now):
			t := o.held.Token
			o.mu.Unlock()
			return t, nil
		case o.flight == nil && (tried || now.Before(o.next)):
			err := o.state(now)
			o.mu.Unlock()
			return Token{}, err
		}
		flight := o.attempt()
		o.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			return Token{}, request{what: "login"}.unanswered(ctx, ctx.Err())
		}
	}
}

// Keep renews the token when it is time, and logs in when there is none. Call it every
// second or so; it waits for what it began, or for the end of ctx.
func (o *Own) Keep(ctx context.Context) {
	o.mu.Lock()
	now := o.cfg.Now()
	if o.closed || now.Before(o.next) || o.held.alive(now) && !o.held.due(now) {
		o.mu.Unlock()
		return
	}
	flight := o.attempt()
	o.mu.Unlock()
	select {
	case <-flight:
	case <-ctx.Done():
	}
}

// Refused tells that Vault took t for no token (ErrInvalidToken): the next Token logs in.
func (o *Own) Refused(t Token) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.IsZero() || o.held.Token != t {
		return
	}
	o.drop(o.cfg.Now())
}

// drop forgets the token that Vault does not know. A young one is a sign that the next one
// will not live either: from the second in a row on there is a pause. The caller holds mu.
func (o *Own) drop(now time.Time) {
	if now.Sub(o.held.since) >= settled {
		o.refusals = 0
	}
	if o.refusals > 0 {
		o.next = now.Add(pause(o.refusals))
	}
	o.refusals++
	o.held, o.err = held{}, &Error{LoggedOut, "use our token", ErrInvalidToken}
}

func pause(failures int) time.Duration {
	return min(firstPause<<min(failures-1, 8), longestPause)
}

// State is nil while there is a token that lives, and otherwise says why there is none.
func (o *Own) State() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	return o.state(o.cfg.Now())
}

// state is State. The caller holds mu.
func (o *Own) state(now time.Time) error {
	switch {
	case o.held.alive(now):
		return nil
	case o.err != nil:
		return o.err
	}
	return &Error{LoggedOut, "login", ErrNotYet}
}

// attempt begins to renew or to log in, unless that is under way. The caller holds mu.
func (o *Own) attempt() <-chan struct{} {
	if o.flight != nil {
		return o.flight
	}
	flight, h := make(chan struct{}), o.held
	if !h.alive(o.cfg.Now()) {
		h = held{}
	}
	o.flight = flight
	go func() {
		defer close(flight)
		ctx, cancel := context.WithTimeout(o.ctx, loginTimeout)
		defer cancel()
		auth, renewed, err := o.renewOrLogin(ctx, h)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.flight = nil
		o.settle(auth, renewed, err)
	}()
	return flight
}

// renewOrLogin renews h if it is one. What Vault does not renew, or not to its full life,
// is replaced while it lives.
func (o *Own) renewOrLogin(ctx context.Context, h held) (a Auth, renewed bool, err error) {
	if h.Renewable {
		a, err := o.cfg.Client.RenewToken(ctx, h.Token)
		if err != nil && isHealth(err) {
			return Auth{}, false, err
		}
		if err == nil && a.TTL >= h.TTL {
			return a, true, nil
		}
	}
	a, err = o.cfg.Login(ctx)
	var e *Error
	switch {
	case err != nil && !errors.As(err, &e):
		return Auth{}, false, &Error{LoggedOut, "login", err}
	case err == nil && a.Batch:
		return Auth{}, false, &Error{LoggedOut, "login", errors.New("the role gives batch tokens, which can be neither renewed nor revoked: set token_type=service")}
	}
	return a, false, err
}

// isHealth reports whether the failure says nothing of the token. HTTP 500 may: it is how
// Vault says that the policies of a role have changed, or its authority.
func isHealth(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Why {
	case Sealed, Timeout, Unreachable, Limited, Canceled:
		return true
	}
	return false
}

// settle keeps what an attempt came to. The caller holds mu.
func (o *Own) settle(a Auth, renewed bool, err error) {
	now := o.cfg.Now()
	if err != nil {
		o.failures++
		o.err, o.next = err, now.Add(pause(o.failures))
		if o.failures == 1 && !o.closed {
			o.cfg.Log.Error("vault: our login failed; it is tried again", "error", err)
		}
		return
	}
	if o.failures > 0 {
		o.cfg.Log.Info("vault: logged in again")
	}
	h := newHeld(a, now)
	if renewed {
		h.since = o.held.since
	} else if o.held.alive(now) {
		o.former = append(slices.DeleteFunc(o.former, func(f held) bool { return !f.alive(now) }), o.held)
	}
	o.held, o.err, o.failures, o.next = h, nil, 0, time.Time{}
}

// Close revokes the token, and those that it replaced. What it cannot revoke expires.
func (o *Own) Close(ctx context.Context) error {
	o.mu.Lock()
	o.closed = true
	flight := o.flight
	o.mu.Unlock()
	o.cancel()
	if flight != nil {
		<-flight
	}
	o.mu.Lock()
	all := append(o.former, o.held)
	o.former, o.held = nil, held{}
	o.mu.Unlock()
	var errs []error
	for _, h := range all {
		if h.alive(o.cfg.Now()) {
			errs = append(errs, o.cfg.Client.RevokeToken(ctx, h.Token))
		}
	}
	return errors.Join(errs...)
}
