package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Run becomes the confined command where the arguments of this process say so, and
// otherwise does nothing. A main function calls it first. It returns an error where the
// command could not be confined or run: it must not go on.
func Run(args []string) (mine bool, err error) {
	if len(args) < 2 || args[1] != word {
		return false, nil
	}
	if len(args) == 2 { // Probe asks whether it can be started
		return true, nil
	}
	if len(args) < 4 {
		return true, errors.New(word + " is for this program itself")
	}
	var c child
	if err := json.Unmarshal([]byte(args[2]), &c); err != nil {
		return true, fmt.Errorf("%s: %w", word, err)
	}
	// What follows is for this thread alone, and it is this one that becomes the command.
	runtime.LockOSThread()
	if err := c.confine(); err != nil {
		return true, fmt.Errorf("confine %s: %w", args[3], err)
	}
	return true, fmt.Errorf("run %s: %w", args[3], syscall.Exec(args[3], args[3:], environment()))
}

// environment is that of the command.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return v == uncollected })
}

// confine takes away what the command must not have.
func (c child) confine() error {
	if c.Bare {
		return noCore()
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if c.Landlock > 0 {
		if err := c.landlock(); err != nil {
			return err
		}
	}
	if c.Filter {
		if err := loadFilter(filter(c.Spec.Connect)); err != nil {
			return err
		}
	}
	return c.limit()
}

// limit comes last: it counts for this program too.
func (c child) limit() error {
	tasks := 0
	if c.NProc {
		tasks = c.Spec.Tasks
	}
	for resource, n := range map[int]int64{unix.RLIMIT_DATA: c.Spec.Memory, unix.RLIMIT_CPU: int64(math.Ceil(c.Spec.CPU.Seconds())),
		unix.RLIMIT_FSIZE: c.Spec.FileSize, unix.RLIMIT_NOFILE: int64(c.Spec.Files), unix.RLIMIT_NPROC: int64(tasks)} {
		if n <= 0 {
			continue
		}
		if err := lower(resource, uint64(n)); err != nil {
			return fmt.Errorf("rlimit %d: %w", resource, err)
		}
	}
	return noCore()
}

// noCore has the process leave nothing of its memory, and so of its environment, when it
// crashes. One byte is too little for a file, and the one value with which the kernel calls
// no program that takes dumps either, as it does with 0 (Linux, fs/coredump.c).
func noCore() error { return lower(unix.RLIMIT_CORE, 1) }

// lower sets both limits, and never raises the hard one.
func lower(resource int, n uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(resource, &now); err != nil {
		return err
	}
	n = min(n, now.Max)
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: n, Max: n})
}

// dropCapabilities leaves none to the command, root or not.
func dropCapabilities() error {
	for c := range unix.CAP_LAST_CAP + 1 {
		// EINVAL: a kernel without this one. EPERM: we have none to give.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// landlock limits files, TCP ports, and signals to others.
func (c child) landlock() error {
	rules := slices.Concat(c.files(false, append(slices.Clone(system), c.Spec.Read...)),
		c.files(true, append(slices.Clone(devices), c.Spec.Write...)))
	for _, port := range c.Spec.Connect {
		rules = append(rules, landlock.ConnectTCP(port))
	}
	fd, flags, err := landlock.V9.BestEffort().NewRulesetFD(rules...)
	if err != nil {
		return err
	}
	if fd < 0 {
		return errors.New("landlock is gone")
	}
	defer unix.Close(fd)
	return ll.LandlockRestrictSelf(fd, flags)
}

// files are rules for what there is of the paths. A rule is for what a link leads to.
func (c child) files(write bool, paths []string) []landlock.Rule {
	var rules []landlock.Rule
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			continue
		}
		var rule landlock.FSRule
		switch {
		case write && info.IsDir():
			if rule = landlock.RWDirs(p); c.Landlock >= abiRefer {
				rule = rule.WithRefer()
			}
		case write:
			rule = landlock.RWFiles(p)
		case info.IsDir():
			rule = landlock.RODirs(p)
		default:
			rule = landlock.ROFiles(p)
		}
		rules = append(rules, rule)
	}
	return rules
}
