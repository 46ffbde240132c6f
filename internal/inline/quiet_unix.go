//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package inline

import (
	"errors"
	"net"
	"syscall"
)

// canPeek: it can be told whether a kept connection is good without reading from it.
const canPeek = true

// quiet reports whether the connection is open and holds nothing to be read. It does not
// wait: sockets of package net do not block.
func quiet(conn net.Conn) bool {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	nothing := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		nothing = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && nothing
}
