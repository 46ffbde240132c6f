package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startWithin = 60 * time.Second
	stopWithin  = 15 * time.Second
)

// process is a server that we started.
type process struct {
	name   string
	url    string // where it serves
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	exited chan struct{}

	// Of PostgreSQL, which a script starts and, when its stdin ends, stops.
	lifeline   io.Closer
	postmaster int // its process, whose children work for it
}

var readyLine = regexp.MustCompile(`(?m)^(?:ready|vault \S+ serving on) (http://127\.0\.0\.1:\d+|/\S+)$`)

// start runs a command and returns once it has printed where it serves.
func start(ctx context.Context, name, command string, args ...string) (*process, error) {
	return newProcess(name, command, args...).start(ctx)
}

func newProcess(name, command string, args ...string) *process {
	p := &process{name: name, cmd: exec.Command(command, args...), stdout: newOutput(), stderr: newOutput(), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	return p
}

func (p *process) start(ctx context.Context) (*process, error) {
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // we kill it: its status says nothing
		close(p.exited)
	}()
	if err := p.waitReady(ctx); err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s (%.200s): %w%s", p.name, strings.Join(p.cmd.Args, " "), err, p.lastWords())
	}
	return p, nil
}

func (p *process) waitReady(ctx context.Context) error {
	late := time.After(startWithin)
	for {
		changed := p.stdout.changed()
		if m := readyLine.FindStringSubmatch(p.stdout.String()); m != nil {
			p.url = m[1]
			return nil
		}
		select {
		case <-changed:
		case <-p.exited:
			return errors.New("it ended before it was ready")
		case <-late:
			return fmt.Errorf("not ready after %s", startWithin)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lastWords is the end of what the process wrote to stderr, for error messages.
func (p *process) lastWords() string {
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	if lines[0] == "" {
		return " (and it wrote nothing to stderr)"
	}
	return "\n  its last words on stderr:\n    " + strings.Join(lines[max(0, len(lines)-15):], "\n    ")
}

// stop ends the process, politely first. It may be called again.
func (p *process) stop() {
	if p.lifeline != nil {
		_ = p.lifeline.Close()
		<-p.exited // pg_ctl itself gives up after a minute
		return
	}
	_ = p.cmd.Process.Signal(os.Interrupt) // fails when it has ended
	select {
	case <-p.exited:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.exited
	}
}

// pid is of the process that serves.
func (p *process) pid() int {
	if p.postmaster != 0 {
		return p.postmaster
	}
	return p.cmd.Process.Pid
}

// cpu is the CPU time that the process has used, PostgreSQL with its children.
func (p *process) cpu() (time.Duration, error) {
	if p.postmaster != 0 {
		return cpuOfFamily(p.postmaster)
	}
	return cpuOf(p.pid())
}

// tick is the unit of /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuOf is the CPU time that a process has used, user and system.
func cpuOf(pid int) (time.Duration, error) {
	s, err := statOf(pid)
	return s.used, err
}

// cpuOfFamily adds to that the children, those that have ended too.
func cpuOfFamily(pid int) (time.Duration, error) {
	parent, err := statOf(pid)
	if err != nil {
		return 0, err
	}
	sum := parent.used + parent.reaped
	dirs, err := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		id, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if s, err := statOf(id); err == nil && s.parent == pid { // or it has just ended
			sum += s.used + s.reaped
		}
	}
	return sum, err
}

// stat is what we need of /proc/PID/stat.
type stat struct {
	parent       int
	used, reaped time.Duration // CPU time, user and system: its own, and of children that have ended
}

func statOf(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before it may have spaces
	if len(f) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat is not what proc(5) says", pid)
	}
	var n [5]int
	for i, at := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.Atoi(string(f[at])); err != nil {
			return stat{}, err
		}
	}
	return stat{n[0], time.Duration(n[1]+n[2]) * tick, time.Duration(n[3]+n[4]) * tick}, nil
}

// memoryOf is a field of /proc/PID/status in MiB: VmRSS now, VmHWM at its peak.
func memoryOf(pid int, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}

// busy is the CPU time that the whole machine has used.
func busy() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	var ticks int64
	for i, f := range strings.Fields(first) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the label, idle, iowait, and guests (counted in user)
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * tick
}

// output collects what a process prints and tells who waits of each change. It
// is safe for concurrent use.
type output struct {
	mu    sync.Mutex // guards what follows
	text  bytes.Buffer
	event chan struct{} // closed at the next write
}

var _ io.Writer = (*output)(nil)

func newOutput() *output { return &output{event: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.event)
	o.event = make(chan struct{})
	return o.text.Write(b)
}

func (o *output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.event
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
