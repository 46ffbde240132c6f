// Package vaultbridge obtains, for each call to a legacy server, a credential from
// HashiCorp Vault, and sees to it that nothing is left of it when the call is over.
//
// It owns leases and their end: it logs in for the call, records the accessor of the
// Vault token before anything is minted by it, mints, and revokes that token with all its
// leases when the call has ended, however it did. What a crash leaves behind the next start
// revokes.
//
// It does NOT decide who may call, and knows no MCP.
package vaultbridge

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// Config configures a Bridge.
type Config struct {
	Vault    *vault.Client
	JWTMount string     // of the JWT auth that calls log in to with their own call token; empty: they get children of Own's
	Own      *vault.Own // who it is itself: it ends what others left. Whoever made it closes it, after the Bridge
	Servers  []Server

	Records Records
	Holder  string // the name of this process's audit log, which no other process has
	Audit   audit.Recorder

	// Alive says why a call may go on no longer: its subject, client, grant or server was
	// revoked or frozen. It is asked at every Obtain, and each second for all that is in use or
	// kept, so it must be quick, and ask nothing of the Bridge. That it cannot be told is a reason too.
	Alive func(call token.Call, server string) error

	Log     *slog.Logger
	Now     func() time.Time
	Observe func(Event)   // for metrics; it must be quick, and ask nothing of the Bridge; nil: nobody counts
	Pause   time.Duration // for which Vault is asked nothing for a server after it failed; 0: 10 seconds
}

// Bridge obtains credentials and ends them. It is safe for concurrent use. Sweep is to be
// called each second.
type Bridge struct {
	cfg     Config
	boot    string
	sources map[string]*Source
	orphans crew // end what other processes left

	ctx    context.Context // of all that it asks of others; done when Close waits no longer
	cancel context.CancelFunc
	work   sync.WaitGroup // what mints and what ends

	obeyed map[string]string // who wanted it ended, by the id of the record; of Sweep alone

	mu      sync.Mutex // guards what follows, and what leases, crews and sources say that it does
	closed  bool
	leases  map[*lease]struct{}  // that live, or are being minted
	endings map[*ending]struct{} // that are not done
	failed  map[*ending]struct{} // of these, that are tried again
	held    time.Time            // when the records were held last
}

// New makes a Bridge. Close ends it.
func New(cfg Config) (*Bridge, error) {
	if cfg.Observe == nil {
		cfg.Observe = func(Event) {}
	}
	b := &Bridge{cfg: cfg, boot: rand.Text(), sources: map[string]*Source{}, leases: map[*lease]struct{}{}, endings: map[*ending]struct{}{}, failed: map[*ending]struct{}{}}
	b.orphans = crew{b: b, hands: hands}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for _, s := range cfg.Servers {
		if err := s.check(cfg.JWTMount != ""); err != nil {
			return nil, fmt.Errorf("server %s: %w", s.Name, err)
		}
		if b.sources[s.Name] != nil {
			return nil, fmt.Errorf("server %s: there are two of that name", s.Name)
		}
		b.sources[s.Name] = newSource(b, s)
	}
	return b, nil
}

// Source is what the gateway asks for the server; nil where there is none of that name.
func (b *Bridge) Source(server string) *Source { return b.sources[server] }

// Close ends everything, in use or not, and waits for that until ctx is done. What cannot
// be ended in time the next start ends, from the records.
func (b *Bridge) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	for l := range b.leases {
		if l.live {
			b.end(l, "shutdown")
		}
	}
	for e := range b.failed {
		b.again(e)
	}
	b.mu.Unlock()
	b.wait(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := len(b.endings); left > 0 {
		return fmt.Errorf("vaultbridge: %d leases could not be ended: the next start tries again", left)
	}
	return nil
}

// wait is for all work, which is cut short when ctx is done.
func (b *Bridge) wait(ctx context.Context) {
	done := make(chan struct{})
	go func() { b.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	b.cancel()
	<-done
}
