package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// RewrapStore is a Store whose keys can be wrapped anew.
type RewrapStore interface {
	Keys(ctx context.Context) ([]Record, error)
	// RewrapKey puts after in the place of before, which is Record.Wrapped, in one step; the
	// store has it when it returns. It returns ErrChanged where the key is not as before.
	RewrapKey(ctx context.Context, keyID string, before, after []byte) error
}

// ErrChanged is returned for a key that was wrapped anew meanwhile.
var ErrChanged = errors.New("the key was wrapped anew meanwhile")

// Rewrapping is what an operator wants. Record and Done may be nil.
type Rewrapping struct {
	Store    RewrapStore
	To       Wrapper
	From     Wrapper // what To does not open; nil: To opens all, and each is wrapped anew, by the newest version of what it has
	Operator string

	// Record writes down what is about to happen to a key; when it fails, nothing does.
	Record func(ctx context.Context, before, after Record) error
	Done   func(Record) // is told of each that is done
}

// Rewrap wraps keys anew, one after the other. Each is the one or the other at any time,
// so that it can be ended in the middle, and done again. Before it changes the first, it
// opens all: it changes nothing in a store that has one that does not open.
func Rewrap(ctx context.Context, w Rewrapping) error {
	records, err := w.Store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	plain := make([][]byte, len(records))
	for i, r := range records {
		var by Wrapper
		if plain[i], by, err = unwrap(ctx, r, w.To, w.From); err != nil {
			return err
		}
		if w.From != nil && by == w.To {
			plain[i] = nil // it has been moved
		}
	}
	for i, r := range records {
		if plain[i] == nil {
			continue
		}
		if err := w.one(ctx, r, plain[i]); err != nil {
			return fmt.Errorf("wrap key %s anew: %w", r.KeyID, err)
		}
	}
	return nil
}

func (w Rewrapping) one(ctx context.Context, r Record, plain []byte) error {
	after := r
	var err error
	if after.Wrapped, err = wrap(ctx, w.To, r, plain, w.Operator); err != nil {
		return err
	}
	if again, _, err := unwrap(ctx, after, w.To); err != nil || !slices.Equal(again, plain) {
		return errors.Join(errors.New("what was wrapped does not open, and is not stored"), err)
	}
	if w.Record != nil {
		if err := w.Record(ctx, r, after); err != nil {
			return err
		}
	}
	if err := w.Store.RewrapKey(ctx, r.KeyID, r.Wrapped, after.Wrapped); err != nil {
		return err
	}
	if w.Done != nil {
		w.Done(after)
	}
	return nil
}
