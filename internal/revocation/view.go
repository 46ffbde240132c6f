package revocation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Config configures a View.
type Config struct {
	Store  Reader
	Issuer string // ours: actors of others are known by names that begin with their issuer
	Now    func() time.Time
	MaxAge time.Duration // how old the view may be; zero: the constant

	// Record is told of what an operator did, once, after it counts here: it is for the
	// audit log. What an authorization server did is in the log of that one. Nil: nobody.
	Record func(ctx context.Context, e Entry) error
}

// View is what a process knows of all entries. It is safe for concurrent use.
type View struct {
	cfg Config

	polling  sync.Mutex // held by the one Poll under way; guards what follows
	newest   Entry      // of the highest Seq that the store has; zero: it has none
	pending  []Entry    // to be recorded
	cleaning time.Time  // when expired entries are forgotten next

	mu      sync.RWMutex // guards what follows
	entries map[Kind]map[string]Entry
	token   map[string]Entry // of entries, as the next three: the hot path hashes names only
	grant   map[string]Entry
	client  map[string]Entry
	subject map[string]Entry
	asOf    time.Time // when the last good poll began; zero: never
}

var _ token.Revocations = (*View)(nil)

// NewView makes a View that knows nothing, and so refuses everything until Poll.
func NewView(cfg Config) *View {
	if cfg.MaxAge == 0 {
		cfg.MaxAge = MaxAge
	}
	v := &View{cfg: cfg}
	v.empty()
	return v
}

// empty forgets all entries. Callers hold mu, or own v.
func (v *View) empty() {
	v.token, v.grant, v.client, v.subject = map[string]Entry{}, map[string]Entry{}, map[string]Entry{}, map[string]Entry{}
	v.entries = map[Kind]map[string]Entry{Token: v.token, Grant: v.grant, Client: v.client, Subject: v.subject, Server: {}}
}

// Poll brings the view up to date. It begins anew when the newest entry that it knows is
// not there any more: the store may be another one than before, as after a restore, in
// which numbers that were seen are given again. That may take longer than a view may be
// old: it then counts from the next time on.
func (v *View) Poll(ctx context.Context) error {
	v.polling.Lock()
	defer v.polling.Unlock()
	began := v.cfg.Now()
	all, anew, err := v.read(ctx)
	if err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	v.apply(all, began, anew)
	for _, e := range all {
		if e.By != "" && e.Seq > v.newest.Seq {
			v.pending = append(v.pending, e)
		}
	}
	switch {
	case len(all) > 0:
		v.newest = all[len(all)-1]
	case anew:
		v.newest = Entry{}
	}
	return v.record(ctx)
}

// read returns what is new, or everything, anew. Callers hold polling.
func (v *View) read(ctx context.Context) (all []Entry, anew bool, err error) {
	if v.newest.Seq > 0 {
		all, err = v.after(ctx, v.newest.Seq-1)
		if err != nil || len(all) > 0 && all[0].is(v.newest) {
			return all[min(1, len(all)):], false, err
		}
	}
	all, err = v.after(ctx, 0)
	return all, true, err
}

func (v *View) after(ctx context.Context, seq int64) (all []Entry, err error) {
	for {
		some, err := v.some(ctx, seq)
		if err != nil {
			return nil, err
		}
		if all = append(all, some...); len(some) < 2 {
			return all, nil
		}
		seq = some[len(some)-1].Seq
	}
}

func (v *View) some(ctx context.Context, after int64) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, v.cfg.MaxAge) // a store that hangs must not keep the next poll waiting
	defer cancel()
	return v.cfg.Store.Revocations(ctx, after)
}

// is reports whether it is the very same entry, not one that has only its number.
func (e Entry) is(o Entry) bool {
	return e.Seq == o.Seq && e.Kind == o.Kind && e.Name == o.Name && e.Created.Equal(o.Created)
}

// record tells of what it has not told yet: the entries count whether or not it can.
func (v *View) record(ctx context.Context) error {
	for ; len(v.pending) > 0; v.pending = v.pending[1:] {
		if v.cfg.Record == nil {
			continue
		}
		if err := v.cfg.Record(ctx, v.pending[0]); err != nil {
			return fmt.Errorf("record revocation: %w", err)
		}
	}
	return nil
}

func (v *View) apply(all []Entry, began time.Time, anew bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if anew {
		v.empty()
	}
	for _, e := range all {
		if of, ok := v.entries[e.Kind]; ok {
			of[e.Name] = e
		}
	}
	v.asOf = began
	if began.Before(v.cleaning) {
		return
	}
	v.cleaning = began.Add(time.Minute)
	for _, of := range v.entries {
		for name, e := range of {
			if !e.Frozen && !began.Before(e.Expires) {
				delete(of, name)
			}
		}
	}
}

// Age is how long ago the last good poll began, for metrics.
func (v *View) Age() time.Duration {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.age()
}

// age goes by the clock that shows more: the monotonic one stands still while a
// machine is suspended, and the other one may be set back. Callers hold mu.
func (v *View) age() time.Duration {
	now := v.cfg.Now()
	return max(now.Sub(v.asOf), now.Round(0).Sub(v.asOf.Round(0)))
}

// Fresh returns token.ErrStale for a view that is too old to say anything.
func (v *View) Fresh() error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.fresh()
}

// fresh is Fresh for callers who hold mu.
func (v *View) fresh() error {
	if v.asOf.IsZero() || v.age() > v.cfg.MaxAge {
		return token.ErrStale
	}
	return nil
}

// Check implements token.Revocations.
func (v *View) Check(t token.Verified) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if err := v.fresh(); err != nil {
		return err
	}
	if _, ok := v.grant[t.Txn()]; ok {
		return token.ErrRevoked
	}
	if _, ok := v.token[t.ID()]; ok {
		return token.ErrRevoked
	}
	for _, id := range t.Ancestors() {
		if _, ok := v.token[id]; ok {
			return token.ErrRevoked
		}
	}
	return v.parties(t)
}

// parties asks about everybody who has a hand in the token. A client is the subject
// of its own tokens by its client_id, so both kinds of names are asked for: nobody
// slips through because an operator took the other word. Callers hold mu.
func (v *View) parties(t token.Verified) error {
	if len(v.client) == 0 && len(v.subject) == 0 {
		return nil
	}
	iat := t.IssuedAt()
	if err := refused(v.subject, t.Subject().String(), iat); err != nil {
		return err
	}
	if t.Workload() { // also where it is another client that now acts for it
		if err := refused(v.client, t.Subject().String(), iat); err != nil {
			return err
		}
	}
	if err := v.acted(t.ClientID(), identity.Subject{}, iat); err != nil {
		return err
	}
	for a := t.Actor(); a != nil; a = a.Act {
		if err := v.actor(*a, iat); err != nil {
			return err
		}
	}
	return nil
}

// actor asks about one of the chain. One of another issuer is known by names that begin
// with it; where they do not, it is a namesake of somebody here. Callers hold mu.
func (v *View) actor(a token.Actor, iat time.Time) error {
	if a.Issuer != "" && a.Issuer != v.cfg.Issuer {
		if !strings.HasPrefix(a.ClientID.String(), a.Issuer+"|") {
			a.ClientID = identity.ClientID{}
		}
		if !strings.HasPrefix(a.Subject.String(), a.Issuer+"|") {
			a.Subject = identity.Subject{}
		}
		if err := refused(v.client, a.Subject.String(), iat); err != nil { // others mostly name an actor by sub alone
			return err
		}
	}
	return v.acted(a.ClientID, a.Subject, iat)
}

// acted asks about one that presents a token or acts in it. Callers hold mu.
func (v *View) acted(c identity.ClientID, s identity.Subject, iat time.Time) error {
	if err := refused(v.client, c.String(), iat); err != nil {
		return err
	}
	if err := refused(v.subject, c.String(), iat); err != nil {
		return err
	}
	return refused(v.subject, s.String(), iat)
}

// refused compares whole seconds, as iat has no more: a token of the very second of
// an epoch may be older than it.
func refused(of map[string]Entry, name string, iat time.Time) error {
	e, ok := of[name]
	switch {
	case !ok:
		return nil
	case e.Frozen:
		return ErrFrozen
	case iat.Unix() <= e.NotBefore.Unix():
		return token.ErrRevoked
	}
	return nil
}

// Person says whether what somebody has done still counts. It returns ErrFrozen or
// token.ErrRevoked where it was done by a subject that was revoked since, and
// token.ErrStale.
func (v *View) Person(who identity.Subject, did time.Time) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if err := v.fresh(); err != nil {
		return err
	}
	return refused(v.subject, who.String(), did)
}

// MayIssue says whether a token that is issued to the client now, on behalf of the
// subject (zero: not known yet), would be good. It returns ErrFrozen, token.ErrStale,
// or token.ErrRevoked for the moment after a revocation in which it would be taken for
// an old one.
func (v *View) MayIssue(c identity.ClientID, s identity.Subject) error {
	now := v.cfg.Now()
	v.mu.RLock()
	defer v.mu.RUnlock()
	if err := v.fresh(); err != nil {
		return err
	}
	return v.acted(c, s, now)
}

// Server returns ErrFrozen for an MCP server that is frozen, and token.ErrStale.
func (v *View) Server(name string) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if err := v.fresh(); err != nil {
		return err
	}
	if v.entries[Server][name].Frozen {
		return ErrFrozen
	}
	return nil
}
