package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

// Settle is how old a next key must be before it may sign: by then every replica
// has loaded it, and every verifier that keeps our JWKS no longer than it may (60 s)
// has seen it.
const Settle = 5 * time.Minute

// Defaults of Config.
const (
	DefaultWarnAge = 60 * 24 * time.Hour
	DefaultMaxAge  = 90 * 24 * time.Hour
)

// Errors of a Ring.
var (
	ErrTooSoon = errors.New("the next key is so new that verifiers may not have seen it")
	ErrLost    = errors.New("the store has lost the key in use")
)

// Config configures a Ring. Store, Wrapper and Now are required.
type Config struct {
	Store   Store
	Wrapper Wrapper
	Now     func() time.Time

	// Former opens what Wrapper does not: for a store whose keys are on the move. Nil: none.
	Former Wrapper

	// Remote signs with the token keys that it keeps; nil where there are none. With Sign the
	// token keys to come are made in it: that counts from the next rotation.
	Remote Remote
	Sign   bool

	// Rewrapped is told of each key that somebody wraps anew while the Ring is open, before
	// anything else is done with it. When it fails, so does the Reload, and it is told again.
	// Nil: nobody is.
	Rewrapped func(ctx context.Context, before, after Record) error

	// Uses are those that there are keys of; nil: all.
	Uses []Use

	// Of token keys: AlgES256 or AlgEdDSA. A change counts from the next rotation. Zero:
	// that of the current key, AlgES256 for the first one.
	Algorithm string

	// How long a token key is accepted after its successor took over; zero:
	// DefaultOverlap. Tokens that live longer than that die early.
	Overlap time.Duration

	// After how long in use Ages calls a key old, and after how long Reload replaces it.
	// Zero: DefaultWarnAge, DefaultMaxAge.
	WarnAge, MaxAge time.Duration
}

// withDefaults fills in and checks.
func (c Config) withDefaults() (Config, error) {
	if c.Uses == nil {
		c.Uses = Uses()
	}
	c.Overlap = cmp.Or(c.Overlap, DefaultOverlap)
	c.WarnAge, c.MaxAge = cmp.Or(c.WarnAge, DefaultWarnAge), cmp.Or(c.MaxAge, DefaultMaxAge)
	if c.Algorithm != "" && c.Algorithm != AlgES256 && c.Algorithm != AlgEdDSA {
		return c, fmt.Errorf("token keys cannot be %q: want %s or %s", c.Algorithm, AlgES256, AlgEdDSA)
	}
	if c.Overlap < 0 || c.WarnAge < 0 || c.MaxAge < Settle {
		return c, fmt.Errorf("ages of keys: want overlap %v and warn age %v positive, max age %v at least %v", c.Overlap, c.WarnAge, c.MaxAge, Settle)
	}
	if c.Sign && c.Remote == nil {
		return c, errors.New("token keys are to be made elsewhere, and there is no Remote")
	}
	return c, nil
}

// remotely reports whether keys of the use are made in Remote.
func (c Config) remotely(u Use) bool { return c.Sign && u == UseToken }

// Ring holds all keys in memory. It is safe for concurrent use.
type Ring struct {
	cfg    func() *Config            // a function, for what prints a Sealer may print the Ring in it, without asking Format
	state  atomic.Pointer[ringState] // complete
	failed atomic.Pointer[error]     // what became of the last Reload
	mu     sync.Mutex                // one reading of the store at a time, so that state never goes back
	known  map[string]Record         // by kid, as the store had them at last; guarded by mu
}

// Format says nothing of what is inside.
func (*Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key ring") }

var (
	_ token.Signer = (*Ring)(nil)
	_ token.KeySet = (*Ring)(nil)
)

// Open is New with defaults.
func Open(ctx context.Context, store Store, w Wrapper, now func() time.Time) (*Ring, error) {
	return New(ctx, Config{Store: store, Wrapper: w, Now: now})
}

// New loads the ring from the store and generates what is missing. It returns
// ErrWrongKEK.
func New(ctx context.Context, cfg Config) (*Ring, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Ring{cfg: func() *Config { return &cfg }, known: map[string]Record{}}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Reload takes over what other replicas have done to the store, and rotates what
// has been in use for MaxAge; exactly one replica does. When it fails, what was
// loaded before stays: an error is for the log, and State keeps it. Call it every few
// seconds.
func (r *Ring) Reload(ctx context.Context) error {
	err := r.reload(ctx)
	r.failed.Store(&err)
	return err
}

// State is what became of the last Reload, which stops no signing, and of the last token
// that was to be signed elsewhere.
func (r *Ring) State() error {
	var errs []error
	if err := r.failed.Load(); err != nil && *err != nil {
		errs = append(errs, fmt.Errorf("what others did to the keys could not be followed: %w", *err))
	}
	if s, ok := r.SigningKey().Key.(*remoteSigner); ok && s.state() != nil {
		errs = append(errs, fmt.Errorf("a token could not be signed: %w", s.state()))
	}
	return errors.Join(errs...)
}

func (r *Ring) reload(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.settle(ctx); err != nil {
		return err
	}
	for _, u := range r.cfg().Uses {
		if r.age(u).Age < r.cfg().MaxAge { // read anew: another replica may have rotated it meanwhile
			continue
		}
		if err := r.rotate(ctx, u, false); err != nil && !errors.Is(err, ErrTooSoon) { // then soon
			return fmt.Errorf("rotate %s key, which is old: %w", u, err)
		}
	}
	return nil
}

// Rotate puts the next key of the use into the current one's place, and makes a
// new next one. Of several that rotate at once, one does and the others find it
// done. It returns ErrTooSoon when the next key is younger than Settle, unless
// forced: then verifiers that have not seen it refuse its signatures until they
// have, for a minute or so.
func (r *Ring) Rotate(ctx context.Context, u Use, force bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.settle(ctx); err != nil {
		return err
	}
	return r.rotate(ctx, u, force)
}

// rotate is Rotate on what settle has just read. Callers hold mu.
func (r *Ring) rotate(ctx context.Context, u Use, force bool) error {
	s := r.state.Load()
	l := s.lines[u]
	next, ok := l.successor(r.fits(s, l))
	if !ok {
		return fmt.Errorf("there is no use %q", u)
	}
	if age := r.cfg().Now().Sub(next.Created); age < Settle && !force {
		return fmt.Errorf("%w: wait %v", ErrTooSoon, (Settle - age).Round(time.Second))
	}
	if err := r.activate(ctx, l, next); err != nil {
		return err
	}
	return r.settle(ctx)
}

// settle reads the store, and takes the steps that are due to have a current and a
// next key of each use. It reads again after each: another replica may have taken
// the same one, and no key is used before the store is known to have it.
func (r *Ring) settle(ctx context.Context) error {
	for range 8 * len(r.cfg().Uses) { // three steps a use, and as many again that others undo
		s, err := r.read(ctx)
		if err != nil {
			return err
		}
		if s.complete() {
			r.state.Store(s)
		}
		if due, err := r.step(ctx, s); err != nil || !due {
			return err
		}
	}
	return errors.New("settle keys: others change them all the time")
}

// read opens what the store has now. What it can no longer have lost is the key in
// use: a store that comes back empty is no reason to begin anew.
func (r *Ring) read(ctx context.Context) (*ringState, error) {
	records, err := r.cfg().Store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	if err := r.notice(ctx, records); err != nil {
		return nil, err
	}
	have := r.state.Load()
	if have != nil && sameRecords(have.records, records) {
		return have, nil
	}
	s, err := openState(ctx, records, have, *r.cfg())
	if err != nil || have == nil {
		return s, err
	}
	for u, l := range have.lines {
		k, _ := l.current()
		if _, ok := s.opened[k.KeyID]; !ok {
			return nil, fmt.Errorf("%w: %s of use %s", ErrLost, k.KeyID, u)
		}
	}
	return s, nil
}

// notice tells Rewrapped of what was wrapped anew.
func (r *Ring) notice(ctx context.Context, records []Record) error {
	told := r.cfg().Rewrapped
	for _, k := range records {
		before, ok := r.known[k.KeyID]
		if ok && told != nil && string(before.Wrapped) != string(k.Wrapped) {
			if err := told(ctx, before, k); err != nil {
				return fmt.Errorf("key %s was wrapped anew: %w", k.KeyID, err)
			}
		}
		r.known[k.KeyID] = k
	}
	return nil
}

// step does one thing that is missing, and reports whether it did.
func (r *Ring) step(ctx context.Context, s *ringState) (bool, error) {
	for _, u := range r.cfg().Uses {
		l := s.lines[u]
		next, ok := l.successor(r.fits(s, l))
		if !ok {
			return true, r.insert(ctx, l)
		}
		if _, ok := l.current(); !ok {
			return true, r.activate(ctx, l, next)
		}
	}
	return false, nil
}

func (r *Ring) insert(ctx context.Context, l line) error {
	k, err := generate(ctx, l.use, r.algorithm(l), *r.cfg())
	if err != nil {
		return fmt.Errorf("generate %s key: %w", l.use, err)
	}
	if err := r.cfg().Store.InsertKey(ctx, k); err != nil {
		return fmt.Errorf("store %s key: %w", l.use, err)
	}
	return nil
}

// activate makes the key the current one, whatever the clocks of other replicas
// say. That another has done it is no error.
func (r *Ring) activate(ctx context.Context, l line, next Record) error {
	now := r.cfg().Now()
	if k, ok := l.current(); ok && now.Sub(k.Activated) < time.Millisecond {
		now = k.Activated.Add(time.Millisecond) // stores keep microseconds
	}
	if err := r.cfg().Store.ActivateKey(ctx, next.KeyID, now); err != nil && !errors.Is(err, ErrActive) {
		return fmt.Errorf("use %s key: %w", l.use, err)
	}
	return nil
}

// fits reports of a next key whether it is as the settings want it.
func (r *Ring) fits(s *ringState, l line) func(Record) bool {
	algorithm, remote := r.algorithm(l), r.cfg().remotely(l.use)
	return func(k Record) bool { return k.Algorithm == algorithm && s.opened[k.KeyID].remote() == remote }
}

// algorithm is that of keys to come.
func (r *Ring) algorithm(l line) string {
	switch l.use {
	case UseSession:
		return AlgA256GCM
	case UseAudit:
		return AlgES256
	}
	k, _ := l.current()
	return cmp.Or(r.cfg().Algorithm, k.Algorithm, AlgES256)
}

// Age is how long a key has been in use.
type Age struct {
	Use   Use
	KeyID string
	Age   time.Duration
	Old   bool // has reached WarnAge
}

// Ages are those of the current keys, one for each use.
func (r *Ring) Ages() []Age {
	var ages []Age
	for _, u := range r.cfg().Uses {
		ages = append(ages, r.age(u))
	}
	return ages
}

func (r *Ring) age(u Use) Age {
	k, _ := r.state.Load().lines[u].current()
	age := r.cfg().Now().Sub(k.Activated)
	return Age{u, k.KeyID, age, age >= r.cfg().WarnAge}
}
