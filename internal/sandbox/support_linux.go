package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"

	landlock "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Support is what can be enforced on this machine.
type Support struct {
	Landlock   int  // its ABI version; 0: none
	Filter     bool // seccomp
	Namespaces bool
	root       bool // RLIMIT_NPROC is not for root
}

// Landlock's versions.
const (
	abiRefer = 2 // renaming from one folder to another
	abiNet   = 4 // TCP ports
	abiScope = 6 // signals and abstract sockets
)

// Probe finds out, by trying.
func Probe() Support {
	s := Support{root: os.Getuid() == 0}
	if abi, err := landlock.LandlockGetABIVersion(); err == nil {
		s.Landlock = abi
	}
	_, known := architectures[runtime.GOARCH]
	_, _, e := unix.Syscall(unix.SYS_PRCTL, unix.PR_GET_SECCOMP, 0, 0)
	s.Filter = known && e == 0
	s.Namespaces = namespaces()
	return s
}

// namespaces starts this program in some, which ends at once.
func namespaces() bool {
	cmd := exec.Command("/proc/self/exe", word)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	unshare(cmd.SysProcAttr, true)
	return cmd.Run() == nil
}

func (s Support) gaps(spec Spec) []string {
	var out []string
	add := func(gap bool, format string, args ...any) {
		if gap {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	noNetwork := len(spec.Connect) == 0
	add(s.Landlock == 0, "files are not limited (no Landlock in this kernel)")
	add(s.Landlock < abiScope && !s.Namespaces, "it can send signals to other processes of its user (no Landlock ABI %d, no namespaces)", abiScope)
	add(s.Landlock == 0 && !s.Namespaces, "it can read the environment and the memory of other processes of its user (no Landlock, no namespaces)")
	add(noNetwork && !s.Filter && !s.Namespaces, "the network is not limited (no seccomp, no namespaces)")
	add(!s.Filter, "Unix sockets are not limited (no seccomp)")
	add(!noNetwork && (s.Landlock < abiNet || !s.Filter), "connections are not limited to ports (no Landlock ABI %d, or no seccomp)", abiNet)
	add(slices.Contains(spec.Connect, 53), "datagrams (UDP) are not limited to port 53")
	add(spec.Tasks > 0 && (s.root || !s.Namespaces), "the number of processes is watched, not limited (it runs as root, or there are no user namespaces)")
	return out
}
