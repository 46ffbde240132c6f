// Package freeport finds ports of this machine for programs that a test starts, and that
// must be told theirs before they listen.
//
// It does NOT keep a port for them. But nobody gets it by chance: it is none of those
// from which the system picks, and no test of the same process is given it again.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The range: below it are well-known ports, from its end on the system's own picks
// (net.ipv4.ip_local_port_range, 32768 by default).
const first, end = 10000, 32768

var (
	mu    sync.Mutex // guards given
	given = map[int]bool{}
)

// Port is a free port of 127.0.0.1.
func Port(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := first + rand.IntN(end-first)
		mu.Lock()
		again := given[port]
		given[port] = true
		mu.Unlock()
		if again {
			continue
		}
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close()
			return strconv.Itoa(port)
		}
	}
	t.Fatal("no free port from 10000 to 32767")
	return ""
}

// Address is 127.0.0.1 with a free port.
func Address(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", Port(t))
}
