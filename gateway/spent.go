package gateway

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	spentFor = 3 * time.Minute // longer than the life of a call token, with both margins
	maxSpent = 1 << 18         // in that time; some 30 MB
)

var errSpentFull = errors.New("so many tokens were spent in the last minutes that no more can be remembered")

// SpentHere is a Single in the memory of this process: for one process, which takes no
// token that was issued before it started (see EnforcerConfig.Since). It is safe for
// concurrent use.
type SpentHere struct {
	now func() time.Time

	mu       sync.Mutex // guards what follows
	new, old map[string]bool
	since    time.Time // when new was begun
}

var _ Single = (*SpentHere)(nil)

// NewSpentHere makes one that remembers nothing.
func NewSpentHere(now func() time.Time) *SpentHere {
	return &SpentHere{now: now, new: map[string]bool{}, since: now()}
}

// Spend implements Single. Two generations are kept, each of which lasts as long as any
// token must be remembered.
func (s *SpentHere) Spend(_ context.Context, jti string, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Sub(s.since) >= spentFor {
		s.new, s.old, s.since = map[string]bool{}, s.new, now
	}
	switch {
	case s.new[jti] || s.old[jti]:
		return ErrSpent
	case until.Sub(now) > spentFor:
		return errors.New("the token lives longer than it can be remembered")
	case len(s.new) >= maxSpent:
		return errSpentFull
	}
	s.new[jti] = true
	return nil
}
