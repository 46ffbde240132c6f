package gateway

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/redact"
)

// Bounds of what is looked for in what a server says.
const (
	maxLate  = 64       // values of credentials that have ended: one that is not revoked yet is as good as before
	maxKeys  = 1024     // values of keys that stay: the server may tell of one that it was given long ago
	maxMasks = 16       // that are applied one after the other
	atOnce   = 64 << 10 // bytes of a message that is gone through once
)

// echoes are the values of the credentials that a server was given. What it says is read
// without them, whoever it says it to and whenever: one server may tell one caller of
// another's. A nil one masks nothing.
type echoes struct {
	mu    sync.Mutex         // guards what follows
	used  map[string]int     // in how many credentials in use each value is
	late  []string           // those that no longer are, the oldest first
	keys  []string           // the same, of keys that stay
	masks []*redact.Redactor // of all of them: one for many, and for each that is new one of its own, which is soon made
}

// begin is for a credential that the server is about to be given.
func (e *echoes) begin(values []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.used == nil {
		e.used = map[string]int{}
	}
	var fresh []string
	for _, v := range values {
		if e.used[v]++; e.used[v] > 1 {
			continue
		}
		late, keys := slices.Index(e.late, v), slices.Index(e.keys, v)
		switch {
		case late >= 0:
			e.late = slices.Delete(e.late, late, late+1)
		case keys >= 0:
			e.keys = slices.Delete(e.keys, keys, keys+1)
		default:
			fresh = append(fresh, v)
		}
	}
	if len(fresh) > 0 {
		e.masks = append(slices.Clip(e.masks), (*redact.Redactor)(nil).Literal(fresh))
	}
}

// end is for one that has ended, or is used no more and lasts.
func (e *echoes) end(values []string, lasts bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	kept, most := &e.late, maxLate
	if lasts {
		kept, most = &e.keys, maxKeys
	}
	for _, v := range values {
		if e.used[v]--; e.used[v] > 0 {
			continue
		}
		delete(e.used, v)
		*kept = append(*kept, v)
	}
	*kept = slices.Delete(*kept, 0, max(0, len(*kept)-most))
}

// redactors are what masks them all in so many bytes.
func (e *echoes) redactors(size int) []*redact.Redactor {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.masks) > maxMasks || len(e.masks) > 1 && size > atOnce {
		e.masks = []*redact.Redactor{(*redact.Redactor)(nil).Literal(slices.AppendSeq(slices.Concat(e.late, e.keys), maps.Keys(e.used)))}
	}
	return e.masks
}

var errEcho = errors.New("it cannot be searched for credentials")

// clean is one JSON value of the server's with every credential masked: the same bytes where
// there is none. An error holds nothing of it.
func (e *echoes) clean(v jsontext.Value) (_ jsontext.Value, masked int, _ error) {
	if e == nil || v == nil {
		return v, 0, nil
	}
	for _, r := range e.redactors(len(v)) {
		out, found, err := r.JSON(v)
		switch {
		case errors.Is(err, redact.ErrUnchecked), errors.Is(err, redact.ErrDenied):
			return nil, 0, errEcho
		case err != nil:
			return nil, 0, errNotJSON // its own text tells where, in the server's words
		case out != nil:
			v, masked = out, masked+found.Total()
		}
	}
	return v, masked, nil
}

// parse reads a message of the server's. Nothing that the server says comes to anybody, or
// is kept, but through here.
func (e *echoes) parse(raw []byte) (peer, error) {
	if e == nil {
		return parsePeer(raw)
	}
	clean, n, err := e.clean(raw)
	if err != nil {
		return peer{}, err
	}
	m, err := parsePeer(clean)
	m.masked = n
	return m, err
}

// text is for logs.
func (e *echoes) text(s string) string {
	if e == nil || s == "" {
		return s
	}
	for _, r := range e.redactors(len(s)) {
		s = r.Text(s)
	}
	return s
}

// has reports whether a credential is in the text.
func (e *echoes) has(s string) bool {
	if e == nil || s == "" {
		return false
	}
	_, n, err := e.clean(quote(s))
	return n > 0 || err != nil
}

// event is what around the data of an event passes: an id or a time with a credential in it
// does not.
func (e *echoes) event(ev sse) sse {
	if e.has(ev.id) {
		ev.id = ""
	}
	if ev.retry > 0 && e.has(strconv.Itoa(ev.retry)) {
		ev.retry = 0
	}
	return ev
}

// headers takes out of an answer those that hold a credential: a session id, too.
func (e *echoes) headers(h http.Header) (found bool) {
	if e == nil {
		return false
	}
	for name, values := range h {
		if slices.ContainsFunc(values, e.has) || e.has(name) {
			delete(h, name)
			found = true
		}
	}
	return found
}

// err is an error on the way to the server, which may quote what that said.
func (e *echoes) err(err error) error {
	if e == nil || err == nil {
		return err
	}
	if said := err.Error(); e.has(said) {
		return quiet{e.text(said), err}
	}
	return err
}

// quiet is an error with another text.
type quiet struct {
	text string
	error
}

func (q quiet) Error() string { return q.text }
func (q quiet) Unwrap() error { return q.error }

// mask is what stands for a credential, in the words of package redact.
const mask = "[credential]"

var errEchoed = errors.New("its definition holds the server's credential, or the text " + mask)

// learn is that of the catalog for a definition that is what the server said: one in which
// something was masked is another.
func (up *upstream) learn(ctx context.Context, definition jsontext.Value) (*tool, error) {
	if up.echoes != nil && bytes.Contains(definition, []byte(mask)) {
		return nil, errEchoed
	}
	return up.catalog.learn(ctx, definition)
}
