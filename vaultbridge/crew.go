package vaultbridge

import "context"

// How many ask something of Vault at the same time, for one server: what hangs with one
// holds up no other, and callers who come and go by the thousand wait here, where it costs
// nothing, and not for Vault's connections.
const (
	hands   = 8  // that end and renew
	minters = 16 // that mint
)

// backlog is how much may wait for its turn before nothing more is minted for the server.
const backlog = hands

// crew does in turn what nobody waits for. Bridge.mu guards it.
type crew struct {
	b     *Bridge
	hands int
	queue []func(context.Context)
	busy  int
	moved chan struct{} // closed when something leaves the queue; nil: nobody waits for that
}

// do has f done soon. Bridge.mu is held.
func (c *crew) do(f func(context.Context)) {
	c.queue = append(c.queue, f)
	if c.busy < c.hands {
		c.busy++
		c.b.work.Add(1)
		go c.work()
	}
}

func (c *crew) work() {
	defer c.b.work.Done()
	for f := c.next(); f != nil; f = c.next() {
		f(c.b.ctx)
	}
}

// next is nil where nothing is left, or Close waits no longer.
func (c *crew) next() func(context.Context) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if len(c.queue) == 0 || c.b.ctx.Err() != nil {
		c.busy--
		return nil
	}
	f := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
	return f
}

// full returns what to wait for where too much waits for its turn. Bridge.mu is held.
func (c *crew) full() (moved <-chan struct{}, full bool) {
	if len(c.queue) < backlog {
		return nil, false
	}
	if c.moved == nil {
		c.moved = make(chan struct{})
	}
	return c.moved, true
}

// room waits until there is little left to end for the server. That is done beside the calls:
// callers who come faster than Vault ends what they had would pile up credentials that
// nobody uses any more. For whom nobody waits any more, nothing is minted.
func (b *Bridge) room(ctx context.Context, l *lease) error {
	for {
		b.mu.Lock()
		moved, full := l.source.crew.full()
		closed, left := b.closed, len(l.users) == 0
		if left && l.source.pool[l.key] == l {
			delete(l.source.pool, l.key) // who comes now has another one
		}
		b.mu.Unlock()
		switch {
		case closed:
			return &Failure{Stopping, "mint a credential", nil}
		case left:
			return &Failure{CallerGone, "mint a credential", nil}
		case !full:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return &Failure{Backlog, "wait until earlier leases have ended", context.Cause(ctx)}
		}
	}
}
