package policies

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// LiveConfig is what a Live is made of.
type LiveConfig struct {
	// Read returns what the policy is made of, as it is now.
	Read func(ctx context.Context) (Config, error)
	// Took is told of each policy before it takes effect. If it fails, the one before
	// stays, and the new one is tried again. May be nil.
	Took func(ctx context.Context, p *PDP) error
	Now  func() time.Time
}

// Live is the policy of a process, which may change while it runs. A change is whole:
// each question is answered by one PDP, and a policy with a mistake never takes the
// place of one without. Until the first one everything is denied.
type Live struct {
	cfg     LiveConfig
	current atomic.Pointer[PDP]
	state   atomic.Pointer[LiveState]

	mu      sync.Mutex // guards what follows: one reload at a time
	tried   sum        // of what was last made into a PDP, in vain or not
	pending sum        // of what Poll has seen once
	effect  sum        // of what is in effect
}

// LiveState is how the policy of a Live stands.
type LiveState struct {
	Digest string    // of the policy in effect; empty: none
	Since  time.Time // when it took effect
	Err    error     // why what is there now did not; nil: it did
	Failed time.Time // since when there is an Err
}

// NewLive returns a Live without a policy: call Reload.
func NewLive(cfg LiveConfig) *Live {
	l := &Live{cfg: cfg}
	l.state.Store(&LiveState{})
	return l
}

// Current is the policy in effect, nil if there is none. Whoever asks it twice is
// answered by the same policy twice.
func (l *Live) Current() *PDP { return l.current.Load() }

// Decide is that of the policy in effect.
func (l *Live) Decide(ctx context.Context, q Request) Decision { return l.Current().Decide(ctx, q) }

// Digest is that of the policy in effect.
func (l *Live) Digest() string { return l.Current().Digest() }

// Names is that of the policy in effect.
func (l *Live) Names(server string) bool { return l.Current().Names(server) }

// Open is that of the policy in effect.
func (l *Live) Open(now time.Time) string { return l.Current().Open(now) }

// Observed is that of the policy in effect.
func (l *Live) Observed(now time.Time) map[string]time.Time { return l.Current().Observed(now) }

// State is how it stands.
func (l *Live) State() LiveState { return *l.state.Load() }

// Reload reads the policy and has it take effect at once, if it is another one. The
// error is why it does not; it is the same each time until something changes.
func (l *Live) Reload(ctx context.Context) (changed bool, err error) { return l.reload(ctx, true) }

// Poll is Reload for what may still be being written: a change counts once it was read
// twice alike, so that half of a file, which may well be a policy without its denials,
// is not taken for the whole.
func (l *Live) Poll(ctx context.Context) (changed bool, err error) { return l.reload(ctx, false) }

func (l *Live) reload(ctx context.Context, atOnce bool) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg, err := l.cfg.Read(ctx)
	if ctx.Err() != nil {
		return false, ctx.Err() // of whoever asked, not of the policy
	}
	if err != nil {
		l.tried, l.pending = sum{}, sum{}
		return false, l.failed(err)
	}
	now := cfg.sum()
	known := now == l.pending || now == l.effect
	l.pending = now
	switch {
	case now == l.effect && l.Current() != nil:
		return false, l.good(now)
	case now == l.tried || !atOnce && !known:
		return false, l.State().Err
	}
	p, err := New(ctx, cfg)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	l.tried = now
	if err == nil {
		err = l.take(ctx, cfg, p)
	}
	if err != nil {
		return false, l.failed(err)
	}
	l.effect = now
	return true, nil
}

// good notes that what is there is what is in effect, again.
func (l *Live) good(now sum) error {
	l.tried = now
	if s := l.State(); s.Err != nil {
		l.state.Store(&LiveState{Digest: s.Digest, Since: s.Since})
	}
	return nil
}

// take puts p into effect.
func (l *Live) take(ctx context.Context, cfg Config, p *PDP) error {
	before := l.State()
	if p.Digest() == "" && before.Digest != "" {
		return fmt.Errorf("%s is empty, and the one before is not: write version: 1 alone for a policy that grants nothing", cfg.withDefaults().Name)
	}
	if l.cfg.Took != nil && p.Digest() != before.Digest {
		if err := l.cfg.Took(ctx, p); err != nil {
			l.tried = sum{}
			return err
		}
	}
	l.current.Store(p)
	l.state.Store(&LiveState{Digest: p.Digest(), Since: l.cfg.Now()})
	return nil
}

// failed notes why the one before stays.
func (l *Live) failed(err error) error {
	s := l.State()
	if s.Err == nil {
		s.Failed = l.cfg.Now()
	}
	s.Err = err
	l.state.Store(&s)
	return err
}

// ErrNoPolicy says that a Live has none, so that everything is denied.
var ErrNoPolicy = errors.New("there is no policy: everything is denied")

// sum tells one Config from another.
type sum [sha256.Size]byte

func (c Config) sum() sum {
	parts := map[string]string{"name": c.Name, "access": string(c.Access)}
	for i, m := range c.Rego {
		parts[fmt.Sprint("rego ", i, " ", m.Name)] = m.Text
	}
	if b := c.Bundle; b != nil {
		parts["bundle"], parts["bundle name"], parts["key"] = string(b.Tarball), b.Name, b.Key.PEM+" "+b.Key.Algorithm+" "+b.Key.Scope
	}
	return sha256.Sum256([]byte(digest(parts, nil)))
}
