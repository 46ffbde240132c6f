package gateway

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"

	"github.com/wicketgate/wicketgate/internal/token"
)

// relistAfter is the least time between two readings of the definitions.
const relistAfter = time.Second

// definitions are those that a server has now. None of them is approved: which one a call
// is for says its token, and who issued that has pinned it.
type definitions struct {
	now    func() time.Time
	flight singleflight.Group

	mu     sync.RWMutex // guards what follows
	tools  map[string]*tool
	listed time.Time
}

// get returns the tool, nil if the server had none, and how long ago that was.
func (d *definitions) get(name string) (*tool, time.Duration) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.tools[name], d.now().Sub(d.listed)
}

// read reads all of them anew. One that was there before is not compiled again.
func (d *definitions) read(page func(cursor string) (object, error)) error {
	found := map[string]*tool{}
	err := allEntries(page, "tools", func(definition jsontext.Value) error {
		var h head
		digest, err := token.DigestDefinition(definition)
		if err != nil || len(definition) > MaxDefinition || len(found) >= MaxPins || json.Unmarshal(definition, &h) != nil || !token.ValidToolName(h.Name) {
			return nil // nobody has a token for it
		}
		if t, _ := d.get(h.Name); t != nil && t.digest == digest {
			found[h.Name] = t
			return nil
		}
		found[h.Name] = h.tool(digest, nil)
		return nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tools, d.listed = found, d.now()
	return nil
}

// definition is the tool as the server has it now, if that is what the token is for.
func (h *hop) definition(name, digest string) (*tool, *rpcError) {
	t, age := h.tools.get(name)
	if same := t != nil && t.digest == digest; age >= definitionsFresh || !same && age >= relistAfter {
		if err := h.relist(); err != nil {
			return nil, withStatus(http.StatusBadGateway, errUnavailable(reasonOf(err, "definitions_unavailable"), err))
		}
		t, _ = h.tools.get(name)
	}
	switch {
	case t == nil || t.digest != digest:
		return nil, errAnotherCall("definition_changed")
	case t.broken != nil:
		return nil, errUnavailable("schema_unusable", t.broken)
	}
	return t, nil
}

// relist reads the definitions in the session of the call, where there is one: a server
// may have others for others.
func (h *hop) relist() error {
	_, err, _ := h.tools.flight.Do(h.leg.session, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.r.Context()), callTimeout)
		defer cancel()
		id := quote("wicketgate-enforce-" + rand.Text())
		return nil, h.recorded(ctx, func(ctx context.Context) error {
			return h.tools.read(func(cursor string) (object, error) {
				return listOn(h.leg, id, "tools/list", cursor, h.echoes, func(m outgoing) (*http.Response, error) {
					return h.send(ctx, h.call, http.MethodPost, m.body, m.header(h.leg))
				})
			})
		})
	})
	return err
}
