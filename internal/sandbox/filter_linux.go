package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// architectures are those that the filter knows; both are little-endian, which counts
// for where the lower half of an argument is.
var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// Offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

const (
	x32Bit     = 0x40000000
	typeMask   = 0xf // SOCK_TYPE_MASK: the rest of the type are flags
	retAllow   = unix.SECCOMP_RET_ALLOW
	retRefused = unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)
)

// bypasses are system calls that no server needs, and with which one could step around
// Landlock, the filter or the namespaces.
var bypasses = []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT,
	unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_PIDFD_GETFD}

// filter is the seccomp program. Landlock knows TCP only, so that sockets of every other
// kind are refused here: other protocols over IP (MPTCP, SCTP), datagrams, Unix
// sockets, whose servers may be anything (an engine of containers), and TCP's way of
// sending before connecting.
func filter(ports []uint16) []bpf.Instruction {
	p := []bpf.Instruction{load(offArch),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: architectures[runtime.GOARCH], SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS}, // the 32-bit calls have other numbers
		load(offNumber),
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32Bit, SkipTrue: 1},
		bpf.RetConstant{Val: retRefused}}
	for _, n := range bypasses {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: n, SkipTrue: 1}, bpf.RetConstant{Val: retRefused})
	}
	domains, types, protocols := []uint32{unix.AF_NETLINK}, []uint32{unix.SOCK_STREAM}, []uint32{0, unix.IPPROTO_TCP}
	if len(ports) > 0 {
		domains = append(domains, unix.AF_INET, unix.AF_INET6)
	} else { // only netlink is left, by which a program asks for its interfaces
		types, protocols = []uint32{unix.SOCK_RAW, unix.SOCK_DGRAM}, []uint32{unix.NETLINK_ROUTE}
	}
	if slices.Contains(ports, 53) {
		types, protocols = append(types, unix.SOCK_DGRAM), append(protocols, unix.IPPROTO_UDP)
	}
	p = append(p, on(unix.SYS_SOCKET, slices.Concat(oneOf(0, ^uint32(0), domains), oneOf(1, typeMask, types), oneOf(2, ^uint32(0), protocols)))...)
	p = append(p, on(unix.SYS_SOCKETPAIR, oneOf(1, typeMask, []uint32{unix.SOCK_STREAM}))...) // a datagram one can be connected elsewhere
	for call, flags := range map[uint32]int{unix.SYS_SENDTO: 3, unix.SYS_SENDMSG: 2, unix.SYS_SENDMMSG: 3} {
		p = append(p, on(call, oneOf(flags, unix.MSG_FASTOPEN, []uint32{0}))...)
	}
	return append(p, bpf.RetConstant{Val: retAllow})
}

func load(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: 4} }

// on is a test of one system call, which is allowed if nothing in it refuses it.
func on(number uint32, tests []bpf.Instruction) []bpf.Instruction {
	tests = append(tests, bpf.RetConstant{Val: retAllow})
	return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: uint8(len(tests))}}, tests...)
}

// oneOf refuses what has another value in the argument. All of them are ints, of which the
// kernel too looks at the lower half only.
func oneOf(arg int, mask uint32, values []uint32) []bpf.Instruction {
	p := []bpf.Instruction{load(offArgs + 8*uint32(arg)), bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask}}
	for i, v := range values {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return append(p, bpf.RetConstant{Val: retRefused})
}

// loadFilter is for the thread that calls it.
func loadFilter(program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return errors.New("the filter is empty")
	}
	instructions := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		instructions[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(instructions)), Filter: &instructions[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(instructions)
	if e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	return nil
}
