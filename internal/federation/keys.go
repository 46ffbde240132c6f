package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/wicketgate/wicketgate/internal/jws"
)

// fileFresh is how long a file with keys is not looked at again.
const fileFresh = time.Minute

// verify checks the signature by the issuer's keys. A kid that is unknown has them
// fetched again, as often as the cache allows: anybody can send one.
func (t *Table) verify(ctx context.Context, is *issuer, token jws.Token) error {
	f, at := t.cfg.Fetcher, is.JWKSURI
	if is.JWKSFile != "" {
		f, at = files{t.cfg.Now}, is.JWKSFile
	}
	if f == nil {
		return errors.New("there is nothing to fetch keys with")
	}
	set, err := is.keys.Keys(ctx, f, t.cfg.Now, at, func(s jws.Set) bool { return token.KeyID == "" || s.Has(token.KeyID) })
	if err != nil {
		return fmt.Errorf("keys of %s: %w", is.Name, err)
	}
	return token.Verify(set.Verifying(token.Algorithm, token.KeyID))
}

// files reads key sets that an operator keeps: a new one counts without a restart.
type files struct{ now func() time.Time }

// Get implements jws.Fetcher.
func (f files) Get(_ context.Context, path string, maxBytes int64) ([]byte, time.Time, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil && int64(len(b)) > maxBytes {
		err = errors.New("too long")
	}
	return b, f.now().Add(fileFresh), err
}
