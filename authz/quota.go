package authz

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

const (
	documentTries = 10          // fetches of a client's metadata a minute, see fetch
	underQuota    = time.Hour   // after which an unused client makes room for a new one
	waitForRoom   = time.Minute // before it is worth trying again when there was none
)

// withDefaults fills in what is zero, and never takes a bound away.
func (r Registration) withDefaults() Registration {
	if r.MaxUnused <= 0 {
		r.MaxUnused = 10_000
	}
	if r.PerMinute <= 0 {
		r.PerMinute = 60 // generous: all people behind claude.ai share a few addresses
	}
	if r.Unused <= 0 {
		r.Unused = 7 * 24 * time.Hour
	}
	return r
}

// quotas bound what strangers can make this process do. They are in memory: with n
// replicas, everybody has n times as much.
type quotas struct {
	registrations *limiter // by source address
	documents     *limiter // by who publishes a metadata document, or by its URL
}

func newQuotas(r Registration) quotas {
	return quotas{newLimiter(r.interval(), r.PerMinute), newLimiter(time.Minute/documentTries, documentTries)}
}

func (r Registration) interval() time.Duration { return time.Minute / time.Duration(r.PerMinute) }

// has reports what allow would, and takes nothing.
func (l *limiter) has(source string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[network(source)].Add(l.every).Sub(now) <= time.Duration(l.burst)*l.every
}

// withinQuota takes one registration from what the source of the request has. If
// there was none, it has answered.
func (s *Server) withinQuota(w http.ResponseWriter, r *http.Request) (bool, error) {
	if s.quotas.registrations.allow(web.Source(r), s.cfg.Now()) {
		return true, nil
	}
	return false, s.tooMany(w, r, s.cfg.Registration.interval(), &oauth.Error{Code: oauth.TemporarilyUnavailable,
		Description: "too many registrations from this address: wait as long as Retry-After says, and keep the client_id for the next time"})
}

// tooMany answers who is over a quota: 429 (RFC 6585 §4), because the status of the
// code itself, 503, tells proxies that it is we who are broken.
func (s *Server) tooMany(w http.ResponseWriter, r *http.Request, wait time.Duration, e *oauth.Error) error {
	s.refuse(r, "register", e)
	seconds := (wait + time.Second - 1) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	return web.WriteJSON(w, http.StatusTooManyRequests, e)
}

// room reports whether one more client may register. When there are too many that
// were never used, those of the last hour stay and some older ones go: a flood
// keeps nobody out for long, and an application that somebody is connecting stays.
func (s *Server) room(ctx context.Context) (bool, error) {
	n, err := s.cfg.Store.UnusedClients(ctx)
	if err != nil || n < s.cfg.Registration.MaxUnused {
		return err == nil, err
	}
	gone, err := s.cfg.Store.DeleteUnusedClients(ctx, s.cfg.Now().Add(-underQuota))
	return gone > 0, err
}

// DeleteUnused removes the clients that registered themselves and were granted
// nothing for as long as the configuration says, and returns how many.
func (s *Server) DeleteUnused(ctx context.Context) (n int64, err error) {
	before := s.cfg.Now().Add(-s.cfg.Registration.Unused)
	for {
		some, err := s.cfg.Store.DeleteUnusedClients(ctx, before)
		n += some
		if err != nil || some == 0 {
			return n, err
		}
	}
}
