package transit

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// firstVersion is the one that signs. A key that somebody rotates in Vault signs with it
// as before: a new token key is a new key in Vault.
const firstVersion = 1

var signTypes = map[string]string{keys.AlgES256: "ecdsa-p256", keys.AlgEdDSA: "ed25519"}

// Generate implements keys.Remote: a key of its own, by the name KEY-KID.
func (e *Engine) Generate(ctx context.Context, keyID, algorithm string) (at string, public crypto.PublicKey, err error) {
	name := e.cfg.Key + "-" + keyID
	path := e.cfg.Mount + "/keys/" + name
	if _, err := e.write(ctx, path, map[string]any{"type": signTypes[algorithm], "exportable": false, "allow_plaintext_backup": false}); err != nil {
		return "", nil, err
	}
	k, err := e.readKey(ctx, path) // what is there, for a key that was there before would not have been changed
	if err != nil {
		return "", nil, err
	}
	if k.kind != signTypes[algorithm] || k.leaves || k.derived || k.versions != 1 {
		return "", nil, fmt.Errorf("the key %s of Vault is not the one that was asked for: somebody made it before, and may have its private half", path)
	}
	public, err = k.public(algorithm)
	if err != nil {
		return "", nil, fmt.Errorf("the key %s of Vault: %w", path, err)
	}
	return e.cfg.Mount + "/" + name, public, nil
}

// Sign implements keys.Remote.
func (e *Engine) Sign(ctx context.Context, at, algorithm string, input []byte) ([]byte, error) {
	slash := strings.LastIndexByte(at, '/')
	if slash < 0 {
		return nil, fmt.Errorf("vault: %q is no key", at)
	}
	data := map[string]any{"input": encode(input), "key_version": firstVersion}
	if algorithm == keys.AlgES256 {
		data["prehashed"], data["hash_algorithm"], data["marshaling_algorithm"] = true, "sha2-256", "asn1"
	}
	s, err := e.write(ctx, at[:slash]+"/sign"+at[slash:], data)
	if err != nil {
		return nil, err
	}
	text, _ := s.Data["signature"].(string)
	encoded, ok := strings.CutPrefix(text, fmt.Sprintf("vault:v%d:", firstVersion))
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil {
		return nil, errors.New("vault: sign: the answer has no signature")
	}
	return signature, nil
}

// key is what Vault says of one.
type key struct {
	kind     string
	derived  bool
	leaves   bool   // its private half can be had, or came from elsewhere
	versions int64  // that it has, or had
	text     string // the public half of the first version
}

func (e *Engine) readKey(ctx context.Context, path string) (key, error) {
	s, err := e.read(ctx, path)
	if err != nil {
		return key{}, err
	}
	return parseKey(s), nil
}

// parseKey reads what is there. What is not there is false: Check and Generate refuse it.
func parseKey(s vault.Secret) key {
	is := func(name string) bool { b, _ := s.Data[name].(bool); return b }
	k := key{derived: is("derived"), leaves: is("exportable") || is("allow_plaintext_backup") || is("imported_key")}
	k.kind, _ = s.Data["type"].(string)
	if n, ok := s.Data["latest_version"].(json.Number); ok {
		k.versions, _ = n.Int64()
	}
	versions, _ := s.Data["keys"].(map[string]any)
	first, _ := versions["1"].(map[string]any)
	k.text, _ = first["public_key"].(string)
	return k
}

// public reads the public half: PEM, but of Ed25519 the base64 of its bytes.
func (k key) public(algorithm string) (crypto.PublicKey, error) {
	if algorithm == keys.AlgEdDSA {
		b, err := base64.StdEncoding.DecodeString(k.text)
		if err != nil || len(b) != ed25519.PublicKeySize {
			return nil, errors.New("its public half is no key of Ed25519")
		}
		return ed25519.PublicKey(b), nil
	}
	block, _ := pem.Decode([]byte(k.text))
	if block == nil {
		return nil, errors.New("it has no public half")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}
