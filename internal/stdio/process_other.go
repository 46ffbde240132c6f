//go:build !linux

package stdio

import (
	"context"
	"errors"
	"log/slog"
)

// process is not to be had here: what ends a process with all that it started, when
// its parent ends too, is Linux's.
type process struct{ exited chan struct{} }

func (t *Transport) start(*session) (*process, error) {
	return nil, errors.New("servers that are commands need Linux")
}

func (*process) send(context.Context, []byte) error { return errEnded }
func (*process) trySend([]byte)                     {}
func (*process) stop()                              {}
func (*process) kill()                              {}

func removeLeft(*slog.Logger) {}
