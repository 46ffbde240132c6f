package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
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
}

var readyLine = regexp.MustCompile(`(?m)^ready (http://127\.0\.0\.1:\d+)$`)

// start runs a command and returns once it has printed where it serves.
func start(ctx context.Context, name, command string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(command, args...), stdout: newOutput(), stderr: newOutput(), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // we kill it: its status says nothing
		close(p.exited)
	}()
	if err := p.waitReady(ctx); err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s (%s): %w%s", name, strings.Join(p.cmd.Args, " "), err, p.lastWords())
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
	_ = p.cmd.Process.Signal(os.Interrupt) // fails when it has ended
	select {
	case <-p.exited:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.exited
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// tick is the unit of /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuOf is the CPU time that a process has used, user and system.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before it may have spaces
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is not what proc(5) says", pid)
	}
	user, err1 := strconv.ParseInt(string(f[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
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
