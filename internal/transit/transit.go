// Package transit has HashiCorp Vault keep the key-encryption key, and token keys where
// that is wanted: the transit engine, over package vault.
//
// It does NOT log in, does not make or delete the key that wraps, and deletes no key at
// all.
package transit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// keyType is that of the key that wraps: it authenticates what a key is for.
const keyType = "aes256-gcm96"

// Config configures an Engine. All of it is required.
type Config struct {
	Client *vault.Client
	Own    *vault.Own // may be used for what deploy/vault/policies/wicketgate-keys.hcl has
	Mount  string     // of the engine: transit
	Key    string     // name of the key that wraps: wicketgate
}

// Engine wraps and signs. It is safe for concurrent use.
type Engine struct{ cfg Config }

var (
	_ keys.Wrapper = (*Engine)(nil)
	_ keys.Remote  = (*Engine)(nil)
)

// New makes an Engine, which asks Vault nothing yet.
func New(cfg Config) *Engine { return &Engine{cfg} }

// Format says which key it is, and nothing of the login that it leads to.
func (e *Engine) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.Name()) }

// Name implements keys.Wrapper.
func (e *Engine) Name() string { return "vault:" + e.cfg.Mount + "/" + e.cfg.Key }

// Check asks Vault whether the key is there, and can wrap keys.
func (e *Engine) Check(ctx context.Context) error {
	k, err := e.readKey(ctx, e.cfg.Mount+"/keys/"+e.cfg.Key)
	switch {
	case isReason(err, vault.NotFound):
		return fmt.Errorf("%w: there is no such key: vault write %s/keys/%s type=%s", err, e.cfg.Mount, e.cfg.Key, keyType)
	case err != nil:
		return err
	case k.kind != keyType || k.derived:
		return fmt.Errorf("the key %s/%s of Vault is of type %q, derived: %v: make one of type %s, not derived", e.cfg.Mount, e.cfg.Key, k.kind, k.derived, keyType)
	}
	return nil
}

// Wrap implements keys.Wrapper, by the newest version of the key.
func (e *Engine) Wrap(ctx context.Context, plain, purpose []byte) ([]byte, error) {
	s, err := e.write(ctx, e.cfg.Mount+"/encrypt/"+e.cfg.Key, map[string]any{"plaintext": encode(plain), "associated_data": encode(purpose)})
	if err != nil {
		return nil, err
	}
	text, _ := s.Data["ciphertext"].(string)
	if !strings.HasPrefix(text, "vault:v") {
		return nil, errors.New("vault: encrypt: the answer has no ciphertext")
	}
	return []byte(text), nil
}

// foreign are Vault's words for what the key did not wrap, or not for this purpose.
var foreign = []string{"message authentication failed", "invalid ciphertext"}

// Unwrap implements keys.Wrapper.
func (e *Engine) Unwrap(ctx context.Context, wrapped, purpose []byte) ([]byte, error) {
	s, err := e.write(ctx, e.cfg.Mount+"/decrypt/"+e.cfg.Key, map[string]any{"ciphertext": string(wrapped), "associated_data": encode(purpose)})
	if isReason(err, vault.Refused) {
		for _, words := range foreign {
			if strings.Contains(err.Error(), words) {
				return nil, fmt.Errorf("%w (%w)", keys.ErrWrongKEK, err)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ask Vault, which has the key that opens it: %w", err)
	}
	text, _ := s.Data["plaintext"].(string)
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(plain) == 0 {
		return nil, errors.New("vault: decrypt: the answer has no plaintext")
	}
	return plain, nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func isReason(err error, r vault.Reason) bool {
	var e *vault.Error
	return errors.As(err, &e) && e.Why == r
}

func (e *Engine) write(ctx context.Context, path string, data map[string]any) (vault.Secret, error) {
	return e.ask(ctx, func(t vault.Token) (vault.Secret, error) { return e.cfg.Client.Write(ctx, t, path, data) })
}

func (e *Engine) read(ctx context.Context, path string) (vault.Secret, error) {
	return e.ask(ctx, func(t vault.Token) (vault.Secret, error) { return e.cfg.Client.Read(ctx, t, path, url.Values{}) })
}

// ask asks with our own token, and once more with a new one when that was revoked.
func (e *Engine) ask(ctx context.Context, request func(vault.Token) (vault.Secret, error)) (vault.Secret, error) {
	for again := false; ; again = true {
		t, err := e.cfg.Own.Token(ctx)
		if err != nil {
			return vault.Secret{}, err
		}
		s, err := request(t)
		if again || !errors.Is(err, vault.ErrInvalidToken) {
			return s, err
		}
		e.cfg.Own.Refused(t)
	}
}
