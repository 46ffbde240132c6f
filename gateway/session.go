package gateway

import (
	"encoding/base64"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// sessionLifetime is absolute: no use prolongs it.
const sessionLifetime = 12 * time.Hour

// maxHandle bounds what is opened, bytes: there is room for two SPIFFE IDs.
const maxHandle = 8 << 10

// Sealer is authenticated encryption.
type Sealer interface {
	Seal(plain []byte) []byte
	Open(sealed []byte) (plain []byte, ok bool)
}

// session is what an Mcp-Session-Id of ours says. It is sealed into the handle
// itself, so that every replica can serve it and nobody else can use it.
type session struct {
	Upstream string            `json:"u,omitempty"` // the upstream's session id; empty if it keeps none
	Server   string            `json:"s"`
	Subject  identity.Subject  `json:"sub"`
	Client   identity.ClientID `json:"c"`
	Version  string            `json:"v"` // negotiated protocol version
	Expires  int64             `json:"e"` // Unix seconds
}

func (g *Gateway) sealSession(s session) (string, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(g.cfg.Sealer.Seal(b)), nil
}

// openSession opens a handle for its owner only: another server, subject or
// client, or one that has expired, is no session at all.
func (g *Gateway) openSession(handle, server string, t token.Verified) (session, bool) {
	var s session
	if len(handle) > maxHandle {
		return s, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil {
		return s, false
	}
	plain, ok := g.cfg.Sealer.Open(sealed)
	if !ok || json.Unmarshal(plain, &s) != nil {
		return session{}, false
	}
	mine := s.Server == server && s.Subject == t.Subject() && s.Client == t.ClientID() && g.cfg.Now().Unix() < s.Expires
	if !mine {
		return session{}, false
	}
	return s, true
}
