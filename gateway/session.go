package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// sessionLifetime is absolute: no use prolongs it.
const sessionLifetime = 12 * time.Hour

// maxHandle bounds what is opened, bytes: there is room for two SPIFFE IDs.
const maxHandle = 8 << 10

// maxState is the same for what an upstream wants back.
const maxState = 256 << 10

// Sealer is authenticated encryption.
type Sealer interface {
	Seal(plain []byte) []byte
	Open(sealed []byte) (plain []byte, ok bool)
}

// kind tells the handles apart, so that none is taken for another.
type kind byte

const (
	kindSession kind = 's' // Mcp-Session-Id
	kindEvent   kind = 'e' // id of an event, for Last-Event-ID
	kindAsked   kind = 'q' // id of a request of a server
	kindState   kind = 'r' // requestState
)

// owner is whose a handle is. It is sealed into the handle itself, so that every replica
// can serve it and nobody else can use it.
type owner struct {
	Server  string            `json:"s"` // whose endpoint; everyServer for that over all
	Subject identity.Subject  `json:"sub"`
	Client  identity.ClientID `json:"c"`
	Expires int64             `json:"e"` // Unix seconds
}

func (p *passage) owner(lifetime time.Duration) owner {
	return owner{Server: p.endpoint, Subject: p.Subject(), Client: p.ClientID(), Expires: p.g.cfg.Now().Add(lifetime).Unix()}
}

func (o owner) of(server string, t token.Verified, now time.Time) bool {
	return o.Server == server && o.Subject == t.Subject() && o.Client == t.ClientID() && now.Unix() < o.Expires
}

// session is what an Mcp-Session-Id of ours says.
type session struct {
	owner
	Upstream string `json:"u,omitempty"` // the upstream's session id; empty if it keeps none
	Version  string `json:"v"`           // negotiated protocol version

	// Translated: the upstream's messages are of the other era, or there are several
	// upstreams; what the client said of itself is then kept here.
	Translated   bool           `json:"t,omitempty"`
	Capabilities jsontext.Value `json:"cap,omitempty"`
	Info         jsontext.Value `json:"info,omitempty"`

	Name string `json:"n,omitempty"` // for which credentials are kept

	URLs bool `json:"url,omitempty"` // the client can be sent to a page (MCP 2025-11-25, elicitation, URL mode)
}

// event is what the id of an event of ours says: where an upstream's stream goes on, and
// the request whose answer may come on it.
type event struct {
	owner
	Session string         `json:"u"` // the upstream's
	Event   string         `json:"ev"`
	Method  string         `json:"m,omitempty"` // empty: the stream belongs to no request
	Name    string         `json:"n,omitempty"`
	ID      jsontext.Value `json:"id,omitempty"`
	Call    string         `json:"call,omitempty"` // of the audit log

	// Of a call that policy asks something of, what it takes to find out again; of another
	// one, by which policy that was.
	Arguments jsontext.Value `json:"a,omitempty"`
	Taken     []string       `json:"l,omitempty"`  // limits that it was counted against
	Rule      string         `json:"ar,omitempty"` // by which it was approved
	Policy    string         `json:"pd,omitempty"`
}

// asked is what the id of a request of a server says, as the client sees it.
type asked struct {
	owner
	Session string         `json:"u"`
	ID      jsontext.Value `json:"id"`
	Waiting string         `json:"w,omitempty"` // who waits for the answer in this process, where nobody upstream does

	Optional bool `json:"opt,omitempty"` // whoever waits goes on without the answer, which may come to another process
}

func seal[T session | event | asked | state](g *Gateway, k kind, v T) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(g.cfg.Sealer.Seal(append([]byte{byte(k)}, b...))), nil
}

// unseal opens a handle, which says itself whose it is.
func unseal[T session | event | asked | state](g *Gateway, k kind, handle string) (v T, ok bool) {
	if len(handle) > maxHandle && (k != kindState || len(handle) > maxState) {
		return v, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil {
		return v, false
	}
	plain, ok := g.cfg.Sealer.Open(sealed)
	if !ok || len(plain) == 0 || plain[0] != byte(k) || json.Unmarshal(plain[1:], &v) != nil {
		return *new(T), false
	}
	return v, true
}

// openSession opens a handle for its owner only: another server, subject or
// client, or one that has expired, is no session at all.
func (g *Gateway) openSession(handle, server string, t token.Verified) (session, bool) {
	s, ok := g.opened.get(handle)
	if !ok {
		if s, ok = unseal[session](g, kindSession, handle); ok {
			g.opened.put(handle, s)
		}
	}
	if !ok || !s.of(server, t, g.cfg.Now()) {
		return session{}, false
	}
	return s, true
}

// maxOpened bounds what openedHandles remembers.
const maxOpened = 10_000

// openedHandles saves opening the same handle with every message. What a handle says
// never changes; whose it is and how long it counts is looked at each time.
type openedHandles struct {
	mu    sync.RWMutex // guards known
	known map[string]session
}

func (o *openedHandles) get(handle string) (session, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	s, ok := o.known[handle]
	return s, ok
}

func (o *openedHandles) put(handle string, s session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known) >= maxOpened {
		o.known = map[string]session{}
	}
	o.known[handle] = s
}

// maxEnded bounds what endedSessions remembers.
const maxEnded = 100_000

// endedSessions are those that a client has ended, in this process: an upstream may know
// nothing of it, or end no sessions. Another replica takes such ones for open until they
// expire.
type endedSessions struct {
	mu    sync.Mutex                  // guards known
	known map[[sha256.Size]byte]int64 // when each expires by itself, Unix seconds
}

func (e *endedSessions) add(handle string, expires, now int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known == nil || len(e.known) >= maxEnded {
		kept := map[[sha256.Size]byte]int64{}
		for k, until := range e.known {
			if until > now && len(kept) < maxEnded/2 {
				kept[k] = until
			}
		}
		e.known = kept
	}
	e.known[sha256.Sum256([]byte(handle))] = expires
}

func (e *endedSessions) has(handle string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.known) == 0 {
		return false
	}
	_, ok := e.known[sha256.Sum256([]byte(handle))]
	return ok
}
