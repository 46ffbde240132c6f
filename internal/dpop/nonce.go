package dpop

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

const (
	nonceLifetime = 5 * time.Minute
	maxNonce      = 128             // bytes
	nonceSkew     = 5 * time.Second // between the clocks of replicas
)

// Sealer is authenticated encryption.
type Sealer interface {
	Seal(plain []byte) []byte
	Open(sealed []byte) (plain []byte, ok bool)
}

// nonce is the time, sealed: every replica can tell that one of them made it and when,
// and none has to remember it.
func (v *Verifier) nonce() string {
	at := binary.BigEndian.AppendUint64(nil, uint64(v.cfg.Now().Unix()))
	return base64.RawURLEncoding.EncodeToString(v.cfg.Sealer.Seal(at))
}

// checkNonce asks for a nonce of ours where there is none that is good (RFC 9449 §8,
// §9), and hands out the next one before that is too old (§8.2).
func (v *Verifier) checkNonce(nonce string, answer http.Header) error {
	age, ok := v.age(nonce)
	if !ok || age > nonceLifetime || age < -nonceSkew {
		answer.Set(headerNonce, v.nonce())
		return &oauth.Error{Code: oauth.UseDPoPNonce, Description: "put the value of DPoP-Nonce into the nonce of a new DPoP proof"}
	}
	if age > nonceLifetime/2 {
		answer.Set(headerNonce, v.nonce())
	}
	return nil
}

// age is how long ago one of us made the nonce.
func (v *Verifier) age(nonce string) (time.Duration, bool) {
	if len(nonce) > maxNonce {
		return 0, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil {
		return 0, false
	}
	at, ok := v.cfg.Sealer.Open(sealed)
	if !ok || len(at) != 8 {
		return 0, false
	}
	return v.cfg.Now().Sub(time.Unix(int64(binary.BigEndian.Uint64(at)), 0)), true
}
