package audit

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Head is a signed statement that the line Seq of a log has the hash Hash, and
// with it all lines before. In the file it is the line after that one.
type Head struct {
	Log       string    // the log's id
	Seq       uint64    // the last line that the head covers
	Hash      string    // SHA-256 of that line, base64url
	Time      time.Time // whole microseconds, so that every store can keep it exactly
	KeyID     string
	Signature string // over the head's message, base64url
}

// Heads keeps the newest head of each log where a writer of the file cannot
// change it. The implementation is durable and safe for concurrent use.
type Heads interface {
	// SaveHead keeps h. Saving the same head twice is no error; a head whose
	// Seq is lower than the one kept for its log changes nothing.
	SaveHead(ctx context.Context, h Head) error
	// Heads returns the newest head of the log with that id, or of every log
	// if log is empty. No heads are no error.
	Heads(ctx context.Context, log string) ([]Head, error)
}

// Signer signs heads. It says with which key, because keys rotate while the log
// runs. It must be quick (it signs while others wait for the log) and safe for
// concurrent use; SignMessage does the signing for a private key.
type Signer interface {
	Sign(message []byte) (keyID string, signature []byte, err error)
}

// VerifyKey reports whether the signature over message is good.
type VerifyKey func(message, signature []byte) bool

// Keys finds the key that a head names. It must know retired keys for as long
// as there are logs that they signed.
type Keys func(keyID string) (VerifyKey, bool)

// SignMessage signs message with an Ed25519 or P-256 key, the latter as ECDSA
// with SHA-256 in ASN.1 form.
func SignMessage(key crypto.Signer, message []byte) ([]byte, error) {
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		return key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	if _, err := PublicKey(key.Public()); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(message)
	return key.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// PublicKey makes the VerifyKey for what SignMessage signs.
func PublicKey(pub crypto.PublicKey) (VerifyKey, error) {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return func(m, sig []byte) bool { return ed25519.Verify(k, m, sig) }, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return func(m, sig []byte) bool {
				sum := sha256.Sum256(m)
				return ecdsa.VerifyASN1(k, sum[:], sig)
			}, nil
		}
	}
	return nil, errors.New("audit heads are signed with Ed25519 or P-256 keys only")
}

// message is what is signed. Its first line keeps the signature from meaning
// anything else, whatever else the key signs.
func (h Head) message() []byte {
	return fmt.Appendf(nil, "wicketgate audit head v1\n%s\n%d\n%s\n%s", h.Log, h.Seq, h.Hash, h.time())
}

func (h Head) time() string { return h.Time.UTC().Format(time.RFC3339Nano) }

// same reports whether two heads say and sign the same.
func (h Head) same(o Head) bool {
	return bytes.Equal(h.message(), o.message()) && h.KeyID == o.KeyID && h.Signature == o.Signature
}

// verify returns an empty string, or what is wrong with the signature.
func (h Head) verify(keys Keys) string {
	key, ok := keys(h.KeyID)
	if !ok {
		return "signed with the unknown key " + strconv.Quote(h.KeyID)
	}
	sig, err := b64.DecodeString(h.Signature)
	if err != nil || !key(h.message(), sig) {
		return "not a signature of the key " + strconv.Quote(h.KeyID)
	}
	return ""
}

// headOf is the head of a chain that ends at t, not yet signed.
func headOf(t tip, now time.Time) Head {
	return Head{Log: t.log, Seq: t.seq, Hash: b64.EncodeToString(t.hash[:]), Time: now.UTC().Truncate(time.Microsecond)}
}

func (h Head) appendBody(dst []byte) []byte {
	dst = append(dst, `,"kind":"head"`...)
	dst = appendString(dst, `,"time":`, h.time())
	dst = appendString(dst, `,"kid":`, h.KeyID)
	return appendString(dst, `,"signature":`, h.Signature)
}

// sign makes the signed head of t.
func sign(s Signer, t tip, now time.Time) (Head, error) {
	h := headOf(t, now)
	kid, sig, err := s.Sign(h.message())
	if err != nil {
		return Head{}, fmt.Errorf("sign audit head: %w", err)
	}
	h.KeyID, h.Signature = kid, b64.EncodeToString(sig)
	return h, nil
}

// newLogID makes the id of a new log of the named process.
func newLogID(name string) string {
	if name == "" {
		return rand.Text()
	}
	return name + ":" + rand.Text()
}

// expected returns the newest stored head of the logs of the named process, and
// false if the store knows none: that log is the one its file must hold.
func expected(ctx context.Context, heads Heads, name string) (Head, bool, error) {
	all, err := heads.Heads(ctx, "")
	if err != nil {
		return Head{}, false, fmt.Errorf("read stored audit heads: %w", err)
	}
	var newest Head
	for _, h := range all {
		owner, _, named := strings.Cut(h.Log, ":")
		if !named {
			owner = ""
		}
		if owner == name && (newest.Log == "" || h.Time.After(newest.Time)) {
			newest = h
		}
	}
	return newest, newest.Log != "", nil
}
