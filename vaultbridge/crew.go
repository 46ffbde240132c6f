package vaultbridge

import "context"

// hands is how many ask something of Vault at the same time, for one server: what hangs
// with one holds up no other.
const hands = 8

// crew does in turn what nobody waits for. Bridge.mu guards it.
type crew struct {
	b     *Bridge
	queue []func(context.Context)
	busy  int
}

// do has f done soon. Bridge.mu is held.
func (c *crew) do(f func(context.Context)) {
	c.queue = append(c.queue, f)
	if c.busy < hands {
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
