package gateway

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wicketgate/wicketgate/internal/token"
)

// Bounds of ending sessions at an upstream.
const (
	endAtOnce = 8
	endWithin = 5 * time.Second
)

// EndIdle ends, at their upstreams, the sessions that the gateway keeps and nobody has
// used for a while. It is to be called now and then.
func (g *Gateway) EndIdle(ctx context.Context) error {
	for _, up := range g.upstreams {
		g.endSessions(ctx, up, up.shared.takeIdle(g.cfg.Now().Unix()))
	}
	return nil
}

// endSessions tells an upstream that sessions have ended. It need not know: one that has
// forgotten, or does not answer, ends them by itself.
func (g *Gateway) endSessions(ctx context.Context, up *upstream, sessions []*sharedSession) {
	defer up.endLent(slices.Clone(sessions))
	sessions = slices.DeleteFunc(sessions, func(s *sharedSession) bool { return s.id == "" })
	if len(sessions) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	p, err := g.ownPassage(ctx, up, "DELETE")
	if err == nil {
		err = p.recorded(ctx, "the gateway ends sessions that nobody uses", func(ctx context.Context) error {
			call, err := g.callToken(ctx, p.access, g.sessionSpec(up))
			if err != nil {
				return err
			}
			ctx, in, failure := p.borrow(ctx, call, "DELETE")
			if failure != nil {
				return failure
			}
			defer in.end()
			return g.endEach(ctx, up, call, sessions)
		})
	}
	if err != nil {
		g.cfg.Log.WarnContext(ctx, "sessions were not ended at the server", "server", up.Name, "sessions", len(sessions), "error", err)
	}
}

func (g *Gateway) endEach(ctx context.Context, up *upstream, call token.Call, sessions []*sharedSession) error {
	var all errgroup.Group
	all.SetLimit(endAtOnce)
	for _, s := range sessions {
		all.Go(func() error {
			return errors.Join(ctx.Err(), g.deleteSession(ctx, up, call, leg{session: s.id, version: s.version}))
		})
	}
	return all.Wait()
}

// maxGone bounds the sessions that wait to be ended; more are left to the upstream.
const maxGone = 1000

// forget is for a session that nobody is to get any more, and the upstream still has. The
// caller holds s.mu.
func (s *sharedSessions) forget(k sharedKey) {
	if len(s.gone) < maxGone {
		s.gone = append(s.gone, s.known[k])
	}
	s.delete(k)
}

// over forgets the sessions of that name: those of a session of a client's, which has ended.
func (s *sharedSessions) over(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.known {
		if v.name == name {
			s.forget(k)
		}
	}
}

// delete is the one way out of known. The caller holds s.mu.
func (s *sharedSessions) delete(k sharedKey) {
	delete(s.known, k)
	s.kept.Add(-1)
}

// idle reports whether nothing is on its way in the session, nor was lately.
func (s *sharedSession) idle(now int64) bool {
	return s.open.Load() == 0 && now-s.used.Load() > int64(sharedIdle/time.Second)
}

// takeIdle returns the sessions that are forgotten, now or before.
func (s *sharedSessions) takeIdle(now int64) []*sharedSession {
	return s.take(func(v *sharedSession) bool { return v.idle(now) })
}

func (s *sharedSessions) takeAll() []*sharedSession {
	return s.take(func(*sharedSession) bool { return true })
}

func (s *sharedSessions) take(which func(*sharedSession) bool) (taken []*sharedSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, s.gone = s.gone, nil
	for k, v := range s.known {
		if which(v) {
			taken = append(taken, v)
			s.delete(k)
		}
	}
	return taken
}

// names are those of the sessions that there are.
func (s *sharedSessions) names() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := map[string]bool{}
	for _, v := range s.known {
		names[v.name] = true
	}
	return names
}

func (s *sharedSessions) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.known)
}
