package inline

import (
	"slices"
	"sync"
	"time"
)

// pool keeps the connections that no request is using. The zero value is empty.
type pool struct {
	mu     sync.Mutex // guards what follows
	byHost map[string][]*connection
	timer  *time.Timer // nil: nothing is kept
}

// take returns the connection that was used last, if one is still good: open, and
// without a byte in it. What an upstream sends before it was asked would be taken for
// the answer to the next request.
func (p *pool) take(host string) *connection {
	for {
		c := p.pop(host)
		if c == nil || quiet(c.conn) {
			return c
		}
		_ = c.conn.Close()
	}
}

func (p *pool) pop(host string) *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.byHost[host]
	if len(kept) == 0 {
		return nil
	}
	last := len(kept) - 1
	c := kept[last]
	kept[last] = nil
	p.byHost[host] = kept[:last]
	return c
}

// put keeps a connection for the next request.
func (p *pool) put(c *connection) {
	c.used, c.since = true, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.byHost[c.host]
	if len(kept) >= maxIdle {
		_ = c.conn.Close()
		return
	}
	if p.byHost == nil {
		p.byHost = map[string][]*connection{}
	}
	p.byHost[c.host] = append(kept, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTimeout, func() { p.expire(time.Now()) })
	}
}

// expire closes what has not been used for idleTimeout, and comes again while anything
// is kept.
func (p *pool) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for host, kept := range p.byHost { // the oldest first
		old := 0
		for old < len(kept) && now.Sub(kept[old].since) >= idleTimeout {
			_ = kept[old].conn.Close()
			old++
		}
		if p.byHost[host] = slices.Delete(kept, 0, old); len(p.byHost[host]) == 0 {
			delete(p.byHost, host)
		}
	}
	if p.timer = nil; len(p.byHost) > 0 {
		p.timer = time.AfterFunc(idleTimeout/2, func() { p.expire(time.Now()) })
	}
}

func (p *pool) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, kept := range p.byHost {
		for _, c := range kept {
			_ = c.conn.Close()
		}
	}
	if p.byHost = nil; p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}
