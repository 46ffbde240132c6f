package jws

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
)

// VerifyBrought checks the signature by the key that the header brings, which proves
// that the signer has that key, and nothing of who that is. It returns the key's
// thumbprint (RFC 7638, with SHA-256, base64url). Points of Ed25519 under which anybody
// can sign are refused by go-jose.
func (t Token) VerifyBrought() (thumbprint string, err error) {
	var j jwk
	if err := json.Unmarshal(t.Key, &j); err != nil {
		return "", fmt.Errorf("parse brought key: %w", err)
	}
	k, err := j.parse(nil)
	switch {
	case err != nil:
		return "", fmt.Errorf("parse brought key: %w", err)
	case !slices.Contains(k.algs, t.Algorithm):
		return "", errors.New("the brought key is for another alg")
	}
	if err := t.Verify([]PublicKey{k.key}); err != nil {
		return "", err
	}
	sum, err := (&jose.JSONWebKey{Key: k.key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
