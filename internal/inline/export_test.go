package inline

import "time"

// Limits that tests go to.
const (
	MaxBody          = maxBody
	MaxHeader        = maxHeader
	MaxInformational = maxInformational
	IdleTimeout      = idleTimeout
)

// Expire is what the timer does.
func (t *Transport) Expire(now time.Time) { t.idle.expire(now) }

// Idle counts the connections that are kept.
func (t *Transport) Idle() (n int) {
	t.idle.mu.Lock()
	defer t.idle.mu.Unlock()
	for _, kept := range t.idle.byHost {
		n += len(kept)
	}
	return n
}

// AllQuiet reports whether all of them are good.
func (t *Transport) AllQuiet() bool {
	t.idle.mu.Lock()
	defer t.idle.mu.Unlock()
	for _, kept := range t.idle.byHost {
		for _, c := range kept {
			if !quiet(c.conn) {
				return false
			}
		}
	}
	return true
}
