package gateway

import (
	"cmp"
	"time"
)

// Longest is how long a call may take at most, with the time for which it may wait for its
// client's answer to a question of the server.
func (u Upstream) Longest() time.Duration { return cmp.Or(u.Timeout, callTimeout) + parkedFor }
