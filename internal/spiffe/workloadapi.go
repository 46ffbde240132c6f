package spiffe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wicketgate/wicketgate/authz"
)

// Streams of the Workload API.
const (
	streamX509 = "X.509-SVIDs"
	streamJWT  = "bundles of JWT-SVIDs"
)

// ErrNoIdentity is why nothing comes where the Workload API answers PermissionDenied
// (SPIFFE Workload API §5.3).
var ErrNoIdentity = errors.New("no registration entry is for this process, or the agent does not know it yet")

// watch follows the Workload API, if there is one.
func (s *Source) watch(ctx context.Context) error {
	if s.cfg.WorkloadAPI == "" {
		return nil
	}
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(s.cfg.WorkloadAPI), workloadapi.WithBackoffStrategy(impatience{}))
	if err != nil {
		return fmt.Errorf("the Workload API %s: %w", s.cfg.WorkloadAPI, err)
	}
	s.client = client
	streams := map[string]func() error{
		streamX509: func() error { return client.WatchX509Context(ctx, x509Watcher{s, ctx}) },
		streamJWT:  func() error { return client.WatchJWTBundles(ctx, jwtWatcher{s, ctx}) },
	}
	for name, follow := range streams {
		s.running.Go(func() {
			for ctx.Err() == nil { // it gives up only where the agent says that it never will answer
				s.broken(ctx, name, follow())
				pause(ctx, retryAfter)
			}
		})
	}
	s.running.Go(func() {
		<-ctx.Done()
		_ = client.Close()
	})
	return nil
}

// x509Watcher takes what the stream of X.509-SVIDs brings.
type x509Watcher struct {
	s   *Source
	ctx context.Context // of the stream: the library's interface has none
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (w x509Watcher) OnX509ContextUpdate(c *workloadapi.X509Context) {
	own := c.DefaultSVID()
	w.s.mended(streamX509, func() { w.s.own, w.s.x509 = own, c.Bundles })
	w.s.cfg.Log.Info("X.509-SVID", "spiffe_id", own.ID.String(), "expires", own.Certificates[0].NotAfter, "trust_domains", c.Bundles.Len())
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (w x509Watcher) OnX509ContextWatchError(err error) { w.s.broken(w.ctx, streamX509, err) }

// jwtWatcher takes what the stream of bundles of JWT-SVIDs brings.
type jwtWatcher struct {
	s   *Source
	ctx context.Context
}

// OnJWTBundlesUpdate implements workloadapi.JWTBundleWatcher.
func (w jwtWatcher) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	w.s.mended(streamJWT, func() { w.s.jwt = set })
}

// OnJWTBundlesWatchError implements workloadapi.JWTBundleWatcher.
func (w jwtWatcher) OnJWTBundlesWatchError(err error) { w.s.broken(w.ctx, streamJWT, err) }

// mended takes over what a stream has brought.
func (s *Source) mended(stream string, take func()) {
	s.update(func() {
		take()
		delete(s.down, stream)
	})
}

// broken notes why a stream ended, and tells the log once.
func (s *Source) broken(ctx context.Context, stream string, err error) {
	if err == nil || ctx.Err() != nil {
		return // we ended it
	}
	if status.Code(err) == codes.PermissionDenied {
		err = fmt.Errorf("%w: %w", ErrNoIdentity, err)
	}
	first := false
	s.update(func() {
		o, was := s.down[stream]
		if first = !was; first {
			o.since = s.cfg.Now()
			if s.own != nil {
				o.until = s.own.Certificates[0].NotAfter
			}
		}
		o.err = err
		s.down[stream] = o
	})
	if first {
		s.cfg.Log.Warn("the Workload API does not answer", "workload_api", s.cfg.WorkloadAPI, "stream", stream, "error", err)
	}
}

// Own is our X.509-SVID. It fails when there is none, or it has expired.
func (s *Source) Own() (*x509svid.SVID, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ownLocked()
}

func (s *Source) ownLocked() (*x509svid.SVID, error) {
	switch {
	case s.cfg.WorkloadAPI == "":
		return nil, s.unavailable("no Workload API is configured")
	case s.own == nil:
		return nil, s.unavailable("the Workload API has sent no X.509-SVID yet")
	case !s.cfg.Now().Before(s.own.Certificates[0].NotAfter):
		return nil, s.unavailable(fmt.Sprintf("our X.509-SVID %s expired at %s", s.own.ID, s.own.Certificates[0].NotAfter.UTC().Format(time.RFC3339)))
	}
	return s.own, nil
}

// JWTSVID asks for a JWT-SVID of the identity that Own is, for one audience alone.
func (s *Source) JWTSVID(ctx context.Context, audience string) (string, error) {
	own, err := s.Own()
	if err != nil {
		return "", err
	}
	svid, err := s.client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: own.ID})
	if err != nil {
		return "", fmt.Errorf("%w: a JWT-SVID of %s from %s: %w", authz.ErrUnavailable, own.ID, s.cfg.WorkloadAPI, err)
	}
	return svid.Marshal(), nil
}

// unavailable is an error with what is known of the Workload API. The caller holds mu.
func (s *Source) unavailable(what string) error {
	for stream, o := range s.down {
		return fmt.Errorf("%w: %s; %s of %s fail since %s: %w", authz.ErrUnavailable, what, stream, s.cfg.WorkloadAPI, o.since.UTC().Format(time.RFC3339), o.err)
	}
	return fmt.Errorf("%w: %s", authz.ErrUnavailable, what)
}

// State is nil when all is well. A warning is about what still works, from what was
// said before.
func (s *Source) State() (warning, failure error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch missing := s.missing(); {
	case missing != nil && s.partly():
		return missing, nil
	case missing != nil:
		return nil, missing
	}
	for stream, o := range s.down {
		return fmt.Errorf("%s of %s fail since %s: %w; our X.509-SVID is good until %s", stream, s.cfg.WorkloadAPI, o.since.UTC().Format(time.RFC3339), o.err,
			s.own.Certificates[0].NotAfter.UTC().Format(time.RFC3339)), nil
	}
	for _, d := range s.domains {
		if d.err != nil {
			return fmt.Errorf("the bundle of trust domain %s cannot be renewed since %s: %w", d.Name, d.err.since.UTC().Format(time.RFC3339), d.err.err), nil
		}
		if d.streamed() && !(s.x509.Has(d.id) && s.jwt.Has(d.id)) {
			return errNotFederated(d.id), nil
		}
	}
	return nil, nil
}

// partly reports whether what is missing is but the bundle of one of several domains,
// whose owner must not keep all others from being served. The caller holds mu.
func (s *Source) partly() bool {
	if s.cfg.WorkloadAPI != "" {
		if _, err := s.jwtBundles(); err != nil {
			return false
		}
	}
	for _, d := range s.domains {
		if d.streamed() {
			return true
		}
		if _, err := d.current(s.cfg.Now()); err == nil {
			return true
		}
	}
	return false
}

const retryAfter = time.Second

// impatience is workloadapi's back-off with an end: the agent is on this machine.
type impatience struct{}

// NewBackoff implements workloadapi.BackoffStrategy.
func (impatience) NewBackoff() workloadapi.Backoff { return impatience{} }

// Next implements workloadapi.Backoff.
func (impatience) Next() time.Duration { return retryAfter }

// Reset implements workloadapi.Backoff.
func (impatience) Reset() {}

// pause waits, not beyond the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
