// Package sandbox confines a command: which files it may read and write, whom it may
// connect to, and how much of the machine it may use.
//
// The kernel enforces it: Landlock for files and TCP ports, a seccomp filter for every
// other socket and for what would step around the two, namespaces where they may be
// made, rlimits. Landlock, the filter and rlimits are for the process that sets them,
// so this program runs itself first, and that becomes the command (see Run).
//
// It does NOT limit memory and tasks of several processes together by the kernel
// (cgroups): Watch looks at those now and then. Bubblewrap is not used: it can do
// nothing here that the above does not.
package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Spec is what a command may do. The zero value may read and write nothing but its
// own folder, and connect to nothing.
type Spec struct {
	Read    []string // absolute paths of files and folders, with what is below
	Write   []string // as Read, and to write to
	Connect []uint16 // TCP ports, on any host; 53 allows datagrams (UDP) too

	Memory   int64         // bytes of one process, and of all together as far as Watch sees; 0: no limit, as for the others
	CPU      time.Duration // CPU time of one process, in whole seconds
	Tasks    int           // processes and threads
	FileSize int64         // bytes of a file that it writes
	Files    int           // open files of one process
}

// Sandbox is a Spec on this machine.
type Sandbox struct {
	spec    Spec
	support Support
}

// New makes a Sandbox of what the machine can do. It fails for a path that is not absolute.
func New(spec Spec, on Support) (*Sandbox, error) {
	for _, p := range slices.Concat(spec.Read, spec.Write) {
		if !filepath.IsAbs(p) {
			return nil, fmt.Errorf("%q is not an absolute path", p)
		}
		if _, err := os.Stat(p); err != nil {
			return nil, err
		}
	}
	return &Sandbox{spec: spec, support: on}, nil
}

// Gaps says what of it is not enforced, for people.
func (s *Sandbox) Gaps() []string { return s.support.gaps(s.spec) }
