package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// Bounds of the sessions that the gateway keeps with an upstream for callers of the
// stateless era.
const (
	sharedIdle     = 10 * time.Minute
	maxShared      = 10_000 // of this process
	maxSharedOwner = 32     // of one subject at one upstream
)

// leg is the way of a message to an upstream: in a session that is the client's own, in
// one that the gateway keeps, or without any.
type leg struct {
	stateless bool
	session   string // the upstream's id; empty if it keeps none
	version   string
	shared    *sharedSession // nil unless the gateway keeps it: then ids of messages are the gateway's
}

func (l leg) apply(h http.Header) {
	if l.session != "" {
		h["Mcp-Session-Id"] = []string{l.session}
	}
	if l.version != "" {
		h["Mcp-Protocol-Version"] = []string{l.version}
	}
}

// own is the leg of a session of the client's own.
func (s session) own() leg { return leg{session: s.Upstream, version: s.Version} }

// leg finds the way for this message.
func (p *passage) leg(ctx context.Context, call token.Call) (leg, *rpcError) {
	if !p.stateless && !p.session.Translated {
		return p.session.own(), nil
	}
	e, err := p.g.era(ctx, p.up)
	if err != nil {
		return leg{}, upstreamError(err)
	}
	if e.stateless {
		return leg{stateless: true, version: statelessVersions[0]}, nil
	}
	s, err := p.g.sharedSession(ctx, p, call)
	if err != nil {
		return leg{}, upstreamError(err)
	}
	s.open.Add(1)
	context.AfterFunc(ctx, func() { s.open.Add(-1) }) // the message has been answered
	return leg{session: s.id, version: s.version, shared: s}, nil
}

// errGone is HTTP 404 in a session: the upstream has ended it, and nothing was done.
var errGone = errors.New("upstream answered HTTP 404")

// onLeg does it on the way of this message. A session that the gateway keeps and the
// upstream has ended is opened again, once.
func (p *passage) onLeg(ctx context.Context, call token.Call, do func(leg) error) error {
	for again := true; ; again = false {
		l, failure := p.leg(ctx, call)
		if failure != nil {
			return failure
		}
		err := do(l)
		if l.shared == nil || !errors.Is(err, errGone) {
			return err
		}
		if p.up.shared.drop(l.shared); !again {
			return err
		}
	}
}

// era is how an upstream wants to be spoken to. It is a property of the server, learnt
// once by asking (MCP 2026-07-28, versioning, backward compatibility).
type era struct {
	stateless bool
	discover  jsontext.Value // what it answered to server/discover
}

type eraOf struct {
	flight singleflight.Group
	known  atomic.Pointer[era]
}

// forget has the next message ask again: an upstream was replaced.
func (e *eraOf) forget() { e.known.Store(nil) }

// refused is told that the upstream knows no initialize: where it was taken for one of the
// session era, it is asked again. What stands before a server that is not up answers so.
func (e *eraOf) refused() {
	if was := e.known.Load(); was != nil && !was.stateless {
		e.known.CompareAndSwap(was, nil)
	}
}

func (g *Gateway) era(ctx context.Context, up *upstream) (*era, error) {
	if e := up.era.known.Load(); e != nil {
		return e, nil
	}
	return joined[*era](ctx, g.life, &up.era.flight, "", func() (any, error) {
		ctx, cancel := g.lasting(ctx, up)
		defer cancel()
		e, err := g.probe(ctx, up)
		if err == nil {
			up.era.known.Store(e)
		}
		return e, err
	})
}

// probe asks with a token of the gateway's own. What nobody can conclude from is an
// error, and is not remembered.
func (g *Gateway) probe(ctx context.Context, up *upstream) (*era, error) {
	call, err := g.ownCall(ctx, up)
	if err != nil {
		return nil, err
	}
	id := jsontext.Value(`"wicketgate-discover"`)
	params := object{}.with(member{"_meta", statelessMeta(nil, nil, nil)})
	resp, err := g.post(ctx, up, call, leg{stateless: true, version: statelessVersions[0]}, outgoing{body: envelope(id, "server/discover", params), method: "server/discover"})
	if err != nil {
		return nil, err
	}
	defer drain(resp)
	switch c := resp.StatusCode; {
	case c == http.StatusUnauthorized || c == http.StatusForbidden || c == http.StatusRequestTimeout || c == http.StatusTooManyRequests || c >= 500:
		return nil, fmt.Errorf("server/discover: %w", up.failure(resp))
	case c != http.StatusOK:
		return &era{}, nil
	}
	a, err := readAnswer(resp, id, up.echoes)
	if err != nil {
		return nil, fmt.Errorf("server/discover: %w", err)
	}
	if a.result == nil || !speaksStateless(a.result) {
		return &era{}, nil
	}
	return &era{stateless: true, discover: a.result.Clone()}, nil
}

func speaksStateless(discover jsontext.Value) bool {
	o, err := readObject(discover)
	if err != nil {
		return false
	}
	found := false
	return elements(o.get("supportedVersions"), func(v jsontext.Value) error {
		found = found || slices.Contains(statelessVersions, text(v))
		return nil
	}) == nil && found
}

// ownCall is a call token of the gateway's own, for what it asks of its own accord.
func (g *Gateway) ownCall(ctx context.Context, up *upstream) (token.Call, error) {
	own, err := g.cfg.Own(ctx, up.Upstream)
	if err != nil {
		return token.Call{}, fmt.Errorf("token of the gateway's own: %w", err)
	}
	return g.callToken(ctx, own, g.sessionSpec(up))
}

func (g *Gateway) sessionSpec(up *upstream) token.CallSpec {
	return token.CallSpec{Scope: token.SessionScope(), Audience: up.Audience.String(), Presenter: g.cfg.ClientID,
		Details: token.Details{Server: up.Name, PolicyDigest: g.cfg.PDP.Digest()}}
}

// statelessMeta is the _meta of a request of the stateless era: ours, with what else the
// client had in its own.
func statelessMeta(theirs object, client, capabilities jsontext.Value) jsontext.Value {
	if client == nil {
		client = ownInfo
	}
	if capabilities == nil {
		capabilities = jsontext.Value("{}")
	}
	return theirs.with(member{metaVersion, quote(statelessVersions[0])}, member{metaClient, client}, member{metaCapabilities, capabilities})
}

// ownInfo is the gateway as an MCP client.
var ownInfo = jsontext.Value(`{"name":"wicketgate","version":"1"}`)

// sharedKey is whose a session is that the gateway keeps: nobody shares one with another.
type sharedKey struct {
	subject      identity.Subject
	client       identity.ClientID
	txn          string
	capabilities string // what the upstream may ask for
	lent         string // whose credentials it lives by; empty: the upstream gets none
}

// sharedSession is a session with an upstream of the session era that serves the messages
// of a caller of the stateless era.
type sharedSession struct {
	id, version string
	name        string         // for which credentials are kept
	result      jsontext.Value // of initialize
	last        atomic.Int64   // id of the newest message
	used        atomic.Int64   // Unix seconds
	open        atomic.Int64   // messages and streams that are on their way
	hub         hub
}

// next is an id that no other message of the session has.
func (s *sharedSession) next() jsontext.Value {
	return quote("wg-" + strconv.FormatInt(s.last.Add(1), 10))
}

type sharedSessions struct {
	kept    *atomic.Int64 // how many there are of all upstreams, with those that are being opened
	flight  singleflight.Group
	mu      sync.Mutex // guards what follows
	known   map[sharedKey]*sharedSession
	gone    []*sharedSession         // forgotten, and not ended at the upstream yet
	opening map[identity.Subject]int // not known yet
}

// sharedSession returns the caller's, and opens it where there is none.
func (g *Gateway) sharedSession(ctx context.Context, p *passage, call token.Call) (*sharedSession, error) {
	k := p.sharedKey()
	all, now := &p.up.shared, g.cfg.Now().Unix()
	if s := all.get(k, now); s != nil {
		return s, nil
	}
	name := k.subject.String() + "\x00" + k.client.String() + "\x00" + k.txn + "\x00" + k.capabilities + "\x00" + k.lent
	return joined[*sharedSession](ctx, g.life, &all.flight, name, func() (any, error) {
		if s := all.get(k, now); s != nil {
			return s, nil
		}
		if p.tool != nil { // good for one call, which initialize is not
			return nil, &rpcError{Code: codeInvalidRequest, Message: "send a request with the access token first: this server keeps sessions", reason: "session_missing"}
		}
		if err := all.room(k, now); err != nil {
			return nil, err
		}
		defer all.opened(k)
		return g.openShared(ctx, p, k)
	})
}

// sharedKey is that of this caller's session.
func (p *passage) sharedKey() sharedKey {
	k := sharedKey{subject: p.Subject(), client: p.ClientID(), txn: p.Txn(), capabilities: p.offers(), lent: p.livesBy()}
	if p.Subject().Is(p.ClientID()) { // each token of a workload's own is a grant of its own, and it is the same workload
		k.txn = ""
	}
	return k
}

// offers is what the client of the stateless era can be asked for, as an upstream of the
// session era is told.
func (p *passage) offers() string {
	theirs := p.meta.capabilities
	if p.session.Translated {
		theirs = p.session.Capabilities
	}
	kept, err := clientCapabilities(orEmpty(theirs))
	if err != nil || len(kept) > maxKept {
		return "{}"
	}
	return string(kept)
}

func (g *Gateway) openShared(ctx context.Context, p *passage, k sharedKey) (*sharedSession, error) {
	ctx, cancel := g.lasting(ctx, p.up)
	defer cancel()
	call, err := g.callToken(ctx, p.access, g.sessionSpec(p.up))
	if err != nil {
		return nil, err
	}
	info := p.clientInfo()
	if info == nil {
		info = ownInfo
	}
	opened, failure := p.handshake(ctx, call, initializeParams{version: sessionVersions[0], client: info, capabilities: jsontext.Value(k.capabilities)})
	if failure != nil {
		return nil, failure
	}
	if err := g.initialized(ctx, p.up, call, opened.leg()); err != nil {
		return nil, err
	}
	s := &sharedSession{id: opened.session, name: p.sessionName(), version: opened.version, result: opened.result}
	p.up.shared.put(k, s, g.cfg.Now().Unix())
	return s, nil
}

// initialized completes the handshake.
func (g *Gateway) initialized(ctx context.Context, up *upstream, call token.Call, l leg) error {
	resp, err := g.post(ctx, up, call, l, outgoing{body: []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)})
	if err != nil {
		return err
	}
	drain(resp)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("upstream answered HTTP %d to notifications/initialized", resp.StatusCode)
	}
	return nil
}

var errTooManySessions = errors.New("too many sessions with this server: use one grant, or wait until some are idle")

func (s *sharedSessions) get(k sharedKey, now int64) *sharedSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.known[k]
	if found == nil {
		return nil
	}
	found.used.Store(now)
	return found
}

// room takes a place for one more, until it is opened. It makes room by forgetting those
// that have been idle, or of this subject's the one that was idle the longest.
func (s *sharedSessions) room(k sharedKey, now int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	owned, oldest := s.opening[k.subject], sharedKey{}
	for other, v := range s.known {
		switch {
		case v.open.Load() > 0:
		case now-v.used.Load() > int64(sharedIdle/time.Second):
			s.forget(other)
			continue
		case other.subject == k.subject && (s.known[oldest] == nil || v.used.Load() < s.known[oldest].used.Load()):
			oldest = other
		}
		if other.subject == k.subject {
			owned++
		}
	}
	if owned >= maxSharedOwner && s.known[oldest] != nil {
		s.forget(oldest)
		owned--
	}
	if owned >= maxSharedOwner || s.kept.Load() >= maxShared {
		return &rpcError{Code: codeDenied, Message: errTooManySessions.Error(), status: http.StatusTooManyRequests, reason: "too_many_sessions"}
	}
	if s.opening == nil {
		s.opening = map[identity.Subject]int{}
	}
	s.opening[k.subject]++
	s.kept.Add(1)
	return nil
}

// opened gives the place back: the session counts itself, if there is one.
func (s *sharedSessions) opened(k sharedKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening[k.subject]--; s.opening[k.subject] == 0 {
		delete(s.opening, k.subject)
	}
	s.kept.Add(-1)
}

func (s *sharedSessions) put(k sharedKey, v *sharedSession, now int64) {
	v.used.Store(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[sharedKey]*sharedSession{}
	}
	if s.known[k] == nil {
		s.kept.Add(1)
	}
	s.known[k] = v
}

// drop forgets a session that the upstream has ended.
func (s *sharedSessions) drop(gone *sharedSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.known {
		if v == gone {
			s.delete(k)
			s.gone = append(s.gone, &sharedSession{name: v.name}) // there is nothing to end at the upstream
		}
	}
}
