package sandbox

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// system is what programs need to run at all. Nothing of it is a person's.
var system = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies",
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
	"/etc/passwd", "/etc/group", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/alternatives", "/etc/os-release", "/etc/fonts",
	"/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/loadavg", "/proc/uptime",
	"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/osrelease", "/sys/devices/system/cpu", "/sys/kernel/mm/transparent_hugepage",
	"/dev/urandom", "/dev/random"}

// devices may be written to.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full"}

// word is the first argument of this program when it is to become a command.
const word = "sandbox-exec"

// uncollected keeps this program from collecting garbage before it has become the command,
// which takes a fifth of that time. The command itself does not get it.
const uncollected = "GOGC=1000000"

// Environment is the environment that the process of a command starts with, for one that is
// to have env. A GOGC in that counts.
func Environment(env []string) []string { return append([]string{uncollected}, env...) }

// child is the second argument.
type child struct {
	Spec     Spec
	Landlock int // ABI version; 0: none
	Filter   bool
	NProc    bool // RLIMIT_NPROC counts the command's own tasks
	Bare     bool // nothing is confined: it leaves no core dump, and that is all
}

// Command is the confined command, which may also read its program and read and write
// home. Its process must be started by a goroutine that is locked to its thread.
func (s *Sandbox) Command(home, program string, args ...string) (*exec.Cmd, error) {
	c := child{Spec: s.spec, Landlock: s.support.Landlock, Filter: s.support.Filter, NProc: s.support.Namespaces && !s.support.root}
	c.Spec.Write = append(slices.Clone(c.Spec.Write), home)
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		return nil, err
	}
	c.Spec.Read = append(slices.Clone(c.Spec.Read), program, real)
	cmd, err := c.command(program, args)
	if err == nil && s.support.Namespaces {
		unshare(cmd.SysProcAttr, len(s.spec.Connect) == 0)
	}
	return cmd, err
}

// Bare is the command as it is, confined in nothing: it leaves no core dump, and ends with
// us. Its process must be started by a goroutine that is locked to its thread.
func Bare(program string, args ...string) (*exec.Cmd, error) {
	return child{Bare: true}.command(program, args)
}

// command is this program, which becomes the other in a process group of its own.
func (c child) command(program string, args []string) (*exec.Cmd, error) {
	spec, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", slices.Concat([]string{word, string(spec), program}, args)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// unshare has a process start in namespaces of its own, without a network if that is
// wanted. When its first process ends, the kernel ends all others in them.
func unshare(a *syscall.SysProcAttr, noNetwork bool) {
	a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC
	if noNetwork {
		a.Cloneflags |= syscall.CLONE_NEWNET
	}
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
}
