//go:build linux

package stdio

import "io"

// Bounds of the log.
const (
	MaxLogged = maxLogged
	MaxMasked = maxMasked
)

// Sweep is what happens now and then.
func (t *Transport) Sweep() { t.sweep() }

// Processes is how many run.
func (t *Transport) Processes() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// Wait waits until no process runs.
func (t *Transport) Wait() { t.processes.Wait() }

// Lines is lines with a limit.
func Lines(r io.Reader, limit int, f func([]byte)) error { return lines(r, limit, f) }

// Parse is parse, for what it says of a message.
func Parse(raw []byte) (id, method string, err error) {
	m, err := parse(raw)
	return m.id, m.method, err
}

// OneLine is oneLine.
func OneLine(raw []byte) []byte { return oneLine(raw) }
