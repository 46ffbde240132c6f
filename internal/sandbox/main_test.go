//go:build linux

package sandbox_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wicketgate/wicketgate/internal/sandbox"
)

const actVariable = "WICKETGATE_TEST_SANDBOX_ACT"

// TestMain is the confined command, too: it does one thing and says what came of it.
func TestMain(m *testing.M) {
	if mine, err := sandbox.Run(os.Args); mine {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	act, argument, _ := strings.Cut(os.Getenv(actVariable), " ")
	if act == "" {
		os.Exit(m.Run())
	}
	err := acts[act](argument)
	fmt.Println("came of it:", err)
	os.Exit(0)
}

var acts = map[string]func(argument string) error{
	"read":   func(path string) error { _, err := os.ReadFile(path); return err },
	"list":   func(path string) error { _, err := os.ReadDir(path); return err },
	"write":  func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	"remove": os.Remove,
	"link":   func(path string) error { return os.Symlink("/etc/shadow", path) },
	"signal": func(pid string) error {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		return syscall.Kill(n, 0)
	},
	"tcp":      func(addr string) error { return socket(addr, unix.SOCK_STREAM, 0) },
	"mptcp":    func(addr string) error { return socket(addr, unix.SOCK_STREAM, unix.IPPROTO_MPTCP) },
	"udp":      func(addr string) error { return socket(addr, unix.SOCK_DGRAM, 0) },
	"fastopen": fastOpen,
	"unix":     func(path string) error { _, err := net.Dial("unix", path); return err },
	"pair": func(path string) error {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		return unix.Sendto(pair[0], []byte("hello"), 0, &unix.SockaddrUnix{Name: path})
	},
	"trace": func(pid string) error {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		return syscall.PtraceAttach(n)
	},
	"peek": peek,
	"core": func(string) error {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(unix.RLIMIT_CORE, &l); err != nil || l.Max > 1 {
			return fmt.Errorf("%+v: %w", l, err)
		}
		return nil
	},
	"parent": parent,
	"sleep": func(string) error {
		fmt.Println("up")
		return syscall.Pause()
	},
	"interfaces": func(string) error { _, err := net.Interfaces(); return err },
	"run":        func(program string) error { return exec.Command(program).Run() },
	"tasks": func(n string) error {
		count, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		for range count {
			c := exec.Command("/bin/sleep", "1000")
			if err := c.Start(); err != nil {
				return err
			}
		}
		return syscall.Pause()
	},
	"spin": func(string) error {
		for n := 1; n > 0; n = n%7 + 1 {
		}
		return nil
	},
	"file": func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
	"capabilities": func(string) error {
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return err
		}
		for l := range strings.Lines(string(b)) {
			if name, value, _ := strings.Cut(strings.TrimSpace(l), ":"); strings.HasPrefix(name, "Cap") && name != "CapBnd" && strings.Trim(value, "\t0") != "" {
				return fmt.Errorf("%s is %s", name, value)
			}
		}
		return nil
	},
}

// parent starts a confined command that sleeps, and waits for it.
func parent(home string) error {
	runtime.LockOSThread()
	s, err := sandbox.New(sandbox.Spec{}, sandbox.Probe())
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd, err := s.Command(home, self)
	if err != nil {
		return err
	}
	cmd.Env, cmd.Stdout = []string{actVariable + "=sleep"}, os.Stdout
	return cmd.Run()
}

// peek reads the memory of another process, of which any address will do that may be one:
// EFAULT would say that it was looked at.
func peek(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	var b [1]byte
	local, remote := []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 0x1000, Len: 1}}
	if _, err = unix.ProcessVMReadv(n, local, remote, 0); err == unix.EFAULT {
		return nil
	}
	return err
}

func address(addr string) (*unix.SockaddrInet4, error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}, nil
}

// socket sends a byte by system calls, with nothing of package net's fallbacks.
func socket(addr string, kind, protocol int) error {
	to, err := address(addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, kind, protocol)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("x"))
	return err
}

// fastOpen sends before connecting, which is no connect to Landlock.
func fastOpen(addr string) error {
	to, err := address(addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, to)
}
