package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrInexact is returned by Digest for a number that RFC 8785 would change.
var ErrInexact = errors.New("a number has more digits than a double can hold")

// Digest is the SHA-256 of the RFC 8785 (JCS) form of a JSON value, base64url:
// neither key order nor number spelling changes it, any other bit does. It fails
// for what is not strict JSON, and with ErrInexact for a number of 2^53 or more
// that is not kept to the last digit: to JCS 9007199254740992 and
// 9007199254740993 are one double, but to a tool they may be two accounts.
func Digest(v jsontext.Value) (string, error) {
	c := v.Clone()
	if err := c.Canonicalize(); err != nil {
		return "", fmt.Errorf("canonicalize: %w", err)
	}
	if mayBeLarge(v) {
		if err := checkNumbers(v); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(c)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// DigestDefinition is the digest of a tool's definition: Digest, but where that
// would be ErrInexact, numbers count as they are spelled. A schema may well say
// "maximum": 9223372036854775807, and pinning only has to notice that it changes.
func DigestDefinition(v jsontext.Value) (string, error) {
	d, err := Digest(v)
	if !errors.Is(err, ErrInexact) {
		return d, err
	}
	c := v.Clone()
	if err := c.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		return "", fmt.Errorf("canonicalize: %w", err)
	}
	sum := sha256.Sum256(append([]byte("numbers as spelled\n"), c...)) // no JSON text begins so: never the digest of another value
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// mayBeLarge is the cheap question: a number of 2^53 or more has 16 digits in a
// row or an exponent. Text can look like one; that costs only time.
func mayBeLarge(v jsontext.Value) bool {
	run := 0
	for _, c := range v {
		switch {
		case c >= '0' && c <= '9':
			if run++; run >= 16 {
				return true
			}
		case run > 0 && (c == 'e' || c == 'E'):
			return true
		default:
			run = 0
		}
	}
	return false
}

// checkNumbers returns ErrInexact. The value has been found well-formed.
func checkNumbers(v jsontext.Value) error {
	d := jsontext.NewDecoder(bytes.NewReader(v))
	for {
		t, err := d.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read numbers: %w", err)
		case t.Kind() == '0' && !exact(t.String()):
			return ErrInexact
		}
	}
}

// exact reports whether the number is less than 2^53 or is, to the last digit,
// the shortest spelling of its double, which is what JCS writes (RFC 8785 §3.2.2.3).
func exact(number string) bool {
	f, err := strconv.ParseFloat(number, 64)
	if math.Abs(f) < 1<<53 {
		return true
	}
	if err != nil || len(number) > 400 { // beyond every double, or a spelling that is all zeros
		return false
	}
	sent, ok := new(big.Rat).SetString(number)
	kept, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return ok && sent.Cmp(kept) == 0
}
