//go:build linux

package sandbox_test

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pending reports whether a connection waits to be accepted.
func pending(t *testing.T, raw syscall.RawConn) bool {
	t.Helper()
	found := false
	err := raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		found = err == nil && n > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
