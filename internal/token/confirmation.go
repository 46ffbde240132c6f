package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// Confirmation is the cnf claim (RFC 7800 §3.1): which keys the presenter of a token
// must prove to have. Each member is the base64url SHA-256 that its RFC says, or
// empty. It is also what a presenter has proved. The zero value binds to nothing, and
// proves nothing.
type Confirmation struct {
	JKT string `json:"jkt,omitempty"`      // thumbprint of a DPoP key (RFC 9449 §6.1)
	X5T string `json:"x5t#S256,omitempty"` // of a client certificate (RFC 8705 §3.1)
}

// UnmarshalJSON takes no member that could not be enforced.
func (c *Confirmation) UnmarshalJSON(b []byte) error {
	type plain Confirmation
	if err := json.Unmarshal(b, (*plain)(c), json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("cnf: %w", err)
	}
	if bytes.TrimSpace(b)[0] != '{' || c.IsZero() || !thumbprint(c.JKT) || !thumbprint(c.X5T) {
		return errors.New("cnf is not jkt or x5t#S256 with a SHA-256")
	}
	return nil
}

// IsZero reports whether c binds to nothing.
func (c Confirmation) IsZero() bool { return c == Confirmation{} }

// ProvenBy reports whether a presenter with that proof holds all that c asks for.
func (c Confirmation) ProvenBy(proof Confirmation) bool {
	return (c.JKT == "" || c.JKT == proof.JKT) && (c.X5T == "" || c.X5T == proof.X5T)
}

// And is c with what of more it lacks: a binding can be added, and never changed.
func (c Confirmation) And(more Confirmation) Confirmation {
	if c.JKT == "" {
		c.JKT = more.JKT
	}
	if c.X5T == "" {
		c.X5T = more.X5T
	}
	return c
}

// TokenType is how a token that is bound so is presented (RFC 9449 §5, RFC 8705 §3).
func (c Confirmation) TokenType() string {
	if c.JKT != "" {
		return "DPoP"
	}
	return "Bearer"
}

// thumbprint takes the absent one too.
func thumbprint(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return s == "" || err == nil && len(b) == sha256.Size
}
