package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/internal/inspect"
)

const (
	// pinsMaxAge is how old the view of what is approved may be that still counts: so
	// long after its quarantine, at most, a tool is served.
	pinsMaxAge = 5 * time.Second
	// pinsLazy is the age at which whoever asks has the view brought up to date first, so
	// that it also works when nobody polls.
	pinsLazy = 2 * time.Second
	// pinsReload is how often all is read, whether or not there was an order: other
	// processes add pins by first use, and a store may have been restored.
	pinsReload = time.Minute
)

// Errors for a tool that is not served.
var (
	errPinsStale     = errors.New("the store could not be asked for 5 seconds what is approved")
	errNotApproved   = errors.New("its definition is not the approved one: wicketgate tools diff shows it")
	errNameCollision = errors.New("its name looks like that of another tool, and nobody but first use has approved it")
)

// PinViewConfig configures a PinView.
type PinViewConfig struct {
	Pins    Pins
	Servers []string
	Now     func() time.Time
	// Record is told of each order, once over all processes unless one dies meanwhile: it
	// is for the audit log. Nil: nobody, the order waits for another process.
	Record func(ctx context.Context, o Order) error
}

// PinView is what a process knows of which definitions are approved. It is safe for
// concurrent use.
type PinView struct {
	cfg PinViewConfig

	polling  sync.Mutex // held by what reads the store; guards what follows
	revision int64
	loaded   time.Time // when all was read last; zero: never
	unsaid   bool      // there may be orders that are not recorded
	tried    time.Time // when somebody who asked last had the view brought up to date
	watchers []func(server string)

	mu      sync.RWMutex // guards what follows
	servers map[string]map[string]pinned
	asOf    time.Time // when the last good poll began; zero: never
}

// pinned is what counts of a pin.
type pinned struct {
	Pin
	skeleton string
	hidden   bool // by another one of the same skeleton
}

// NewPinView makes a view that knows nothing until it is asked or polled.
func NewPinView(cfg PinViewConfig) *PinView {
	v := &PinView{cfg: cfg, servers: map[string]map[string]pinned{}, unsaid: true}
	for _, name := range cfg.Servers {
		v.servers[name] = map[string]pinned{}
	}
	return v
}

// OnChange has f called after each order about a tool of a server, which may have
// appeared or gone. f must not block.
func (v *PinView) OnChange(f func(server string)) {
	v.polling.Lock()
	defer v.polling.Unlock()
	v.watchers = append(v.watchers, f)
}

// Poll brings the view up to date.
func (v *PinView) Poll(ctx context.Context) error {
	v.polling.Lock()
	defer v.polling.Unlock()
	return v.poll(ctx)
}

// poll is Poll for callers who hold polling.
func (v *PinView) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pinsMaxAge) // a store that hangs must not keep the next poll waiting
	defer cancel()
	began := v.cfg.Now()
	revision, err := v.cfg.Pins.PinRevision(ctx)
	if err != nil {
		return fmt.Errorf("read what is approved: %w", err)
	}
	ordered := revision != v.revision
	if ordered || v.loaded.IsZero() || age(began, v.loaded) > pinsReload {
		if err := v.load(ctx); err != nil {
			return fmt.Errorf("read what is approved: %w", err)
		}
		v.revision, v.loaded = revision, began
	}
	v.mu.Lock()
	v.asOf = began
	v.mu.Unlock()
	v.unsaid = v.unsaid || ordered
	return v.record(ctx)
}

// load reads all servers. Callers hold polling.
func (v *PinView) load(ctx context.Context) error {
	for _, server := range v.cfg.Servers {
		pins, err := v.cfg.Pins.PinDigests(ctx, server)
		if err != nil {
			return err
		}
		tools := make(map[string]pinned, len(pins))
		for _, p := range pins {
			tools[p.Tool] = pinned{Pin: p, skeleton: inspect.Skeleton(p.Tool)}
		}
		hideLookalikes(tools)
		v.mu.Lock()
		changed := differ(v.servers[server], tools)
		v.servers[server] = tools
		v.mu.Unlock()
		if changed {
			v.tell(server)
		}
	}
	return nil
}

// tell calls the watchers. Callers hold polling.
func (v *PinView) tell(server string) {
	for _, f := range v.watchers {
		f(server)
	}
}

// differ reports whether other definitions count.
func differ(a, b map[string]pinned) bool {
	for name, p := range b {
		if p.counts() != a[name].counts() || p.counts() && p.Digest != a[name].Digest {
			return true
		}
	}
	for name, p := range a {
		if _, ok := b[name]; !ok && p.counts() {
			return true
		}
	}
	return false
}

func (p pinned) counts() bool { return p.Approved && !p.hidden }

// byOperator reports whether an operator has approved the definition that stands.
func (p pinned) byOperator() bool { return p.Approved && p.Last.Action == Approve }

// hideLookalikes hides what first use has approved though its name looks like that of
// another approved tool: as two processes may at once. The first one stays, and what an
// operator approved, who was shown the other name.
func hideLookalikes(tools map[string]pinned) {
	first := map[string]pinned{}
	for _, p := range tools {
		if was, ok := first[p.skeleton]; p.Approved && (!ok || p.before(was)) {
			first[p.skeleton] = p
		}
	}
	for name, p := range tools {
		p.hidden = p.Approved && !p.byOperator() && first[p.skeleton].Tool != name
		tools[name] = p
	}
}

func (p pinned) before(o pinned) bool {
	switch {
	case p.byOperator() != o.byOperator():
		return p.byOperator()
	case !p.Seen.Equal(o.Seen):
		return p.Seen.Before(o.Seen)
	}
	return p.Tool < o.Tool
}

// record tells of the orders that no process has told of. Callers hold polling.
func (v *PinView) record(ctx context.Context) error {
	if v.cfg.Record == nil || !v.unsaid {
		return nil
	}
	for {
		orders, err := v.cfg.Pins.UnrecordedOrders(ctx)
		if err != nil || len(orders) == 0 {
			v.unsaid = err != nil
			return err
		}
		for _, o := range orders {
			if err := v.cfg.Record(ctx, o); err != nil {
				return fmt.Errorf("record what an operator did: %w", err)
			}
			if err := v.cfg.Pins.OrderRecorded(ctx, o.Seq, v.cfg.Now()); err != nil {
				return err
			}
		}
	}
}

// Add stores a pin as Pins.AddPin does; the one that stands counts here at once.
func (v *PinView) Add(ctx context.Context, p Pin) (Pin, error) {
	ctx, cancel := context.WithTimeout(ctx, pinsMaxAge)
	defer cancel()
	v.polling.Lock() // what a poll has read must not be undone by what was read before it
	defer v.polling.Unlock()
	stands, err := v.cfg.Pins.AddPin(ctx, p)
	if err != nil {
		return Pin{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	tools := v.servers[p.Server]
	if known, ok := tools[p.Tool]; ok && known.Digest == stands.Digest && known.Approved == stands.Approved || tools == nil {
		return stands, nil
	}
	tools[p.Tool] = pinned{Pin: Pin{Server: stands.Server, Tool: stands.Tool, Digest: stands.Digest, Seen: stands.Seen, Approved: stands.Approved},
		skeleton: inspect.Skeleton(p.Tool)}
	hideLookalikes(tools)
	return stands, nil
}

// Digest returns the digest of the definition that counts, or an error that says why none
// does: also when that cannot be known.
func (v *PinView) Digest(ctx context.Context, server, tool string) (string, error) {
	v.refresh(ctx)
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.asOf.IsZero() || age(v.cfg.Now(), v.asOf) > pinsMaxAge {
		return "", errPinsStale
	}
	switch p := v.servers[server][tool]; {
	case p.hidden:
		return "", errNameCollision
	case !p.Approved:
		return "", errNotApproved
	default:
		return p.Digest, nil
	}
}

// refresh polls if nobody else does, at most once a second. Its error is that the view
// grows old.
func (v *PinView) refresh(ctx context.Context) {
	now := v.cfg.Now()
	v.mu.RLock()
	old := v.asOf.IsZero() || age(now, v.asOf) > pinsLazy
	v.mu.RUnlock()
	if !old {
		return
	}
	v.polling.Lock()
	defer v.polling.Unlock()
	if !v.tried.IsZero() && age(now, v.tried) < time.Second {
		return
	}
	v.tried = now
	_ = v.poll(context.WithoutCancel(ctx))
}

// Reload reads again what is pinned, at most once a second: for whoever misses a tool that
// another process may have pinned by first use meanwhile.
func (v *PinView) Reload(ctx context.Context) error {
	v.polling.Lock()
	defer v.polling.Unlock()
	if now := v.cfg.Now(); v.loaded.IsZero() || age(now, v.loaded) >= time.Second {
		v.loaded = time.Time{}
		return v.poll(ctx)
	}
	return nil
}

// Lookalike returns another tool of the server that is known by a name that looks like
// this one, the first by name.
func (v *PinView) Lookalike(server, tool string) (other string) {
	skeleton := inspect.Skeleton(tool)
	v.mu.RLock()
	defer v.mu.RUnlock()
	for name, p := range v.servers[server] {
		if name != tool && p.skeleton == skeleton && (other == "" || name < other) {
			other = name
		}
	}
	return other
}

// age goes by the clock that shows more: the monotonic one stands still while a machine
// is suspended, and the other one may be set back.
func age(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}
