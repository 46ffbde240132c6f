package vaultbridge

import "context"

// How many ask something of Vault at the same time, for one server: what hangs with one
// holds up no other, and callers who come and go by the thousand wait here, where it costs
// nothing, and not for Vault's connections.
const (
	hands   = 8  // that end and renew
	minters = 16 // that mint
)

// crew does in turn what nobody waits for. Bridge.mu guards it.
type crew struct {
	b     *Bridge
	hands int
	queue []func(context.Context)
	busy  int
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
	return f
}

// unstarted is how much nobody began. b.mu is held.
func (b *Bridge) unstarted() int {
	n := len(b.orphans.queue)
	for _, s := range b.sources {
		n += len(s.crew.queue)
	}
	return n
}
