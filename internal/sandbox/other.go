//go:build !linux

package sandbox

import (
	"errors"
	"os/exec"
)

// Support is what can be enforced on this machine: nothing yet, but on Linux.
type Support struct{}

// Probe finds out.
func Probe() Support { return Support{} }

func (Support) gaps(Spec) []string { return []string{"nothing is limited (it needs Linux)"} }

// Run does nothing here.
func Run([]string) (mine bool, err error) { return false, nil }

// Command is not to be had here.
func (s *Sandbox) Command(_, _ string, _ ...string) (*exec.Cmd, error) {
	return nil, errors.New("the sandbox needs Linux")
}

// Bare is not to be had here.
func Bare(string, ...string) (*exec.Cmd, error) {
	return nil, errors.New("servers that are commands need Linux")
}
