package stdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wicketgate/wicketgate/internal/sandbox"
)

// process is a running server.
type process struct {
	cmd    *exec.Cmd
	grace  time.Duration
	stdin  *os.File
	input  chan []byte // lines to write; a server that reads nothing fills it
	exited chan struct{}
	end    sync.Once

	mu   sync.Mutex // guards gone
	gone bool       // its id may be another's
}

// pipes are the ends of a process's standard streams: ours and its own.
type pipes struct {
	in, out, err                *os.File
	childIn, childOut, childErr *os.File
}

func newPipes() (*pipes, error) {
	var p pipes
	for _, ends := range []struct{ r, w **os.File }{{&p.childIn, &p.in}, {&p.out, &p.childOut}, {&p.err, &p.childErr}} {
		r, w, err := os.Pipe()
		if err != nil {
			p.close()
			return nil, err
		}
		*ends.r, *ends.w = r, w
	}
	return &p, nil
}

func (p *pipes) closeChild() {
	for _, f := range []*os.File{p.childIn, p.childOut, p.childErr} {
		_ = f.Close() // of nil too
	}
}

func (p *pipes) close() {
	p.closeChild()
	for _, f := range []*os.File{p.in, p.out, p.err} {
		_ = f.Close()
	}
}

// start starts the process of s. When it is gone, its place is released.
func (t *Transport) start(s *session) (*process, error) {
	home, err := newHome()
	if err != nil {
		return nil, err
	}
	ends, err := newPipes()
	if err != nil {
		return nil, errors.Join(err, home.remove())
	}
	cmd, err := t.command(s, home.path, ends)
	if err != nil {
		ends.close()
		return nil, errors.Join(err, home.remove())
	}
	p := &process{cmd: cmd, grace: t.cfg.Grace, stdin: ends.in, input: make(chan []byte, 16), exited: make(chan struct{})}
	s.process = p
	started := make(chan error)
	go func() {
		if err := t.run(s, p, ends, started); err != nil {
			started <- errors.Join(err, home.remove())
			return
		}
		if err := home.remove(); err != nil {
			s.log.Warn("remove the temporary folder of a stdio server", "error", err)
		}
		t.release(s)
	}()
	return p, <-started
}

func (t *Transport) command(s *session, home string, ends *pipes) (*exec.Cmd, error) {
	cmd, err := t.confined(home)
	if err != nil {
		return nil, err
	}
	if cmd.Dir = t.cfg.Dir; cmd.Dir == "" {
		cmd.Dir = home
	}
	cmd.Env = sandbox.Environment(environment(home, t.cfg.Env))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = ends.childIn, ends.childOut, ends.childErr
	if err := give(cmd, s.credential); err != nil {
		given(cmd)
		return nil, err
	}
	return cmd, nil
}

func (t *Transport) confined(home string) (*exec.Cmd, error) {
	if t.cfg.Sandbox == nil {
		return sandbox.Bare(t.program, t.cfg.Command[1:]...)
	}
	return t.cfg.Sandbox.Command(home, t.program, t.cfg.Command[1:]...)
}

// watchUse kills a process that takes too much, until ctx is done.
func (s *session) watchUse(ctx context.Context) {
	s.t.cfg.Sandbox.Watch(ctx, s.process.cmd.Process.Pid, func(why string) {
		s.log.Warn("stdio server takes too much and is killed", "why", why)
		s.process.kill()
	})
}

// environment is all that a server inherits: our own has secrets in it.
func environment(home string, further []string) []string {
	lang := os.Getenv("LANG")
	if lang == "" {
		lang = "C.UTF-8"
	}
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LANG=" + lang}, further...)
}

// run runs the process until it is gone, with all that it started. It stays on one
// thread: Pdeathsig is about the thread that started the process.
func (t *Transport) run(s *session, p *process, ends *pipes, started chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer ends.close()
	err := p.cmd.Start()
	ends.closeChild()
	given(p.cmd)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	var output, others sync.WaitGroup
	output.Go(func() {
		if err := lines(ends.out, maxLine, s.receive); errors.Is(err, errLongLine) {
			s.end("a line of more than 4 MiB")
		}
	})
	others.Go(func() { s.logLines(ends.err) })
	others.Go(p.write)
	watching, stopWatching := context.WithCancel(context.Background())
	defer stopWatching()
	if t.cfg.Sandbox != nil {
		others.Go(func() { s.watchUse(watching) })
	}
	started <- nil
	state := p.wait()
	s.log.Debug("stdio server exited", "state", state)
	// What it wrote before its end is in the pipes. One that got away from its group may
	// keep them open.
	for _, f := range []*os.File{ends.out, ends.err} {
		_ = f.SetReadDeadline(time.Now().Add(p.grace))
	}
	output.Wait() // who answers and ends has answered
	close(p.exited)
	stopWatching()
	others.Wait()
	return nil
}

// wait waits for the end of the process, and kills what it leaves behind before its id
// can be another's.
func (p *process) wait() string {
	pid := p.cmd.Process.Pid
	var err error = syscall.EINTR
	for errors.Is(err, syscall.EINTR) {
		err = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = syscall.Kill(-pid, syscall.SIGKILL) // ESRCH: nothing is left
	_ = p.cmd.Wait()                        // the state says it
	p.gone = true
	return p.cmd.ProcessState.String()
}

// write writes the lines to standard input until the process has ended.
func (p *process) write() {
	for {
		select {
		case line := <-p.input:
			if _, err := p.stdin.Write(append(line[:len(line):len(line)], '\n')); err != nil {
				return
			}
		case <-p.exited:
			return
		}
	}
}

// send hands a line to the process.
func (p *process) send(ctx context.Context, line []byte) error {
	select {
	case <-p.exited:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	case p.input <- line:
		return nil
	}
}

// trySend hands a line to the process unless it has not read earlier ones: who reads its
// output must not wait for its input.
func (p *process) trySend(line []byte) {
	select {
	case p.input <- line:
	default:
	}
}

// stop ends the process as MCP says (2025-11-25, lifecycle, shutdown): standard input
// is closed, then SIGTERM, then SIGKILL. It does not wait.
func (p *process) stop() {
	p.end.Do(func() {
		_ = p.stdin.Close()
		go func() {
			for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				select {
				case <-p.exited:
					return
				case <-time.After(p.grace):
					p.signal(sig)
				}
			}
		}()
	})
}

// kill ends the process at once, with all that it started.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		_ = syscall.Kill(-p.cmd.Process.Pid, sig) // ESRCH: it has just ended
	}
}
