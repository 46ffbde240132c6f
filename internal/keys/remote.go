package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// Remote keeps private halves of token keys, and signs with them. It must be safe for
// concurrent use.
type Remote interface {
	// Generate makes a key that cannot leave, and returns its public half and where it is.
	Generate(ctx context.Context, keyID, algorithm string) (at string, public crypto.PublicKey, err error)
	// Sign signs with the key that is there: for AlgES256 a SHA-256 digest, and the answer is
	// ASN.1; for AlgEdDSA the message itself.
	Sign(ctx context.Context, at, algorithm string, input []byte) ([]byte, error)
}

// remoteTimeout bounds one signature.
const remoteTimeout = 5 * time.Second

// errNoRemote is of a key that signs elsewhere, where nothing says how.
var errNoRemote = errors.New("it signs in Vault, and keys.transit is not configured: configure it, or before that, with sign: false, run wicketgate keys rotate --use token")

// reference is what is wrapped in place of a private key. The public half is in it, so
// that nobody who can write the store alone can have another one believed.
type reference struct {
	At     string `json:"remote"`
	Public []byte `json:"public"` // PKIX
}

// referenceBegin is what no PKCS #8 begins with.
var referenceBegin = []byte("{")

func generateRemote(ctx context.Context, r Record, remote Remote) (material, error) {
	at, public, err := remote.Generate(ctx, r.KeyID, r.Algorithm)
	if err != nil {
		return material{}, err
	}
	pkix, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return material{}, err
	}
	text, err := json.Marshal(reference{at, pkix})
	return material{text, pkix}, err
}

// remoteSigner is a key that a Remote has.
type remoteSigner struct {
	remote    Remote // nil: nothing can be signed
	at        string
	algorithm string
	public    crypto.PublicKey
	failed    atomic.Pointer[error] // what became of the last signature
}

func openRemote(r Record, text []byte, remote Remote) (*remoteSigner, error) {
	var ref reference
	if err := json.Unmarshal(text, &ref); err != nil {
		return nil, err
	}
	if !bytes.Equal(ref.Public, r.Public) {
		return nil, errors.New("its public half is another one than was stored with it")
	}
	public, err := x509.ParsePKIXPublicKey(ref.Public)
	return &remoteSigner{remote: remote, at: ref.At, algorithm: r.Algorithm, public: public}, err
}

// Format says where the key is.
func (s *remoteSigner) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key at "+s.at) }

// Public implements crypto.Signer.
func (s *remoteSigner) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer. What comes back is verified: a key of that name that was
// made anew signs nothing that anybody would believe.
func (s *remoteSigner) Sign(_ io.Reader, input []byte, _ crypto.SignerOpts) ([]byte, error) {
	signature, err := s.sign(input)
	s.failed.Store(&err)
	return signature, err
}

func (s *remoteSigner) sign(input []byte) ([]byte, error) {
	if s.remote == nil {
		return nil, errNoRemote
	}
	ctx, cancel := context.WithTimeout(context.Background(), remoteTimeout)
	defer cancel()
	signature, err := s.remote.Sign(ctx, s.at, s.algorithm, input)
	if err != nil {
		return nil, err
	}
	if !s.made(signature, input) {
		return nil, fmt.Errorf("what signs at %s is not the key that was made there: run wicketgate keys rotate --use token --force", s.at)
	}
	return signature, nil
}

// state is why the last signature failed, nil if it did not.
func (s *remoteSigner) state() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *remoteSigner) made(signature, input []byte) bool {
	switch public := s.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, input, signature)
	case ed25519.PublicKey:
		return ed25519.Verify(public, input, signature)
	}
	return false
}
