package gateway

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/singleflight"
)

// joined does once what several wait for. Whoever has no more time does not wait for it
// to end; the gateway does.
func joined[T any](ctx context.Context, l *life, flight *singleflight.Group, key string, do func() (any, error)) (none T, _ error) {
	done := flight.DoChan(key, func() (_ any, err error) {
		if !l.begin() {
			return nil, errStopping
		}
		defer l.running.Done()
		in := lentOf(ctx)
		if !in.hold() {
			return nil, errCredentialEnded
		}
		defer in.end()
		defer func() { // in a goroutine of its own, where a panic would end the process
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		return do()
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}
