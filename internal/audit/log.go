package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// headInterval bounds how long a line waits for a signed head, and how often
	// the store is asked to take one.
	headInterval = time.Second
	saveTimeout  = 5 * time.Second
	keepBuffer   = 1 << 20 // larger buffers are left to the garbage collector
)

// Log is the hash-chained log of one process. It implements Recorder.
//
// Concurrent calls of Record share one write (and one fsync, if Config.Sync):
// who comes while another one writes is written by the next write, and Record lets
// everybody who is ready to run come first.
type Log struct {
	cfg    Config
	path   string // absolute: a chdir must not move the check of the file
	bodies sync.Pool

	mu     sync.Mutex // guards open, tip, count and closed; taken after wmu
	open   *batch     // lines that no write has taken yet
	tip    tip        // the last line of open, or of the file
	count  uint64     // lines since the last head
	closed bool

	wmu    sync.Mutex // guards file, its contents and what follows
	file   *os.File
	id     fileID // what the file must be: inode and size
	done   tip    // the last line in the file
	head   *Head  // the newest head in the file
	saved  uint64 // Seq of the newest head that the store took
	spare  []byte
	broken error // the file is in a state that we do not know: nothing can be recorded

	stop    chan struct{}
	stopped sync.WaitGroup
}

var _ Recorder = (*Log)(nil)

// batch is what one write takes. done and err belong to Log.wmu, the rest to Log.mu.
type batch struct {
	buf  []byte
	tip  tip
	head *Head // the last head in buf
	done bool
	err  error
}

// Record implements Recorder. It returns ErrBadEvent (wrapped) for an event that
// cannot be a line, ErrClosed after Close, and an error of the file system as
// long as the file cannot be written or is not the file that was opened.
func (l *Log) Record(_ context.Context, e Event) error {
	if e.Kind == "" || e.Kind == Headed || e.Kind == Recovered {
		return fmt.Errorf("%w: kind %q", ErrBadEvent, e.Kind)
	}
	if e.Time.IsZero() {
		e.Time = l.cfg.Now()
	}
	buf := l.bodies.Get().(*[]byte)
	defer l.bodies.Put(buf)
	body, err := appendBody((*buf)[:0], &e)
	*buf = body
	if err != nil {
		return err
	}
	if len(body) > maxLine-256 { // the rest is for seq and prev
		return fmt.Errorf("%w: its line would be %d bytes long", ErrBadEvent, len(body))
	}
	return l.submit(body)
}

// submit appends a line and returns when it is in the file.
func (l *Log) submit(body []byte) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	b := l.add(body)
	if l.count%uint64(l.cfg.Every) == 0 {
		l.addHead()
	}
	l.mu.Unlock()
	// A write is short, so that hardly anybody comes while one is going on; but on a busy
	// machine others are ready to run, and may be about to record as well. Alone, this
	// costs nothing.
	runtime.Gosched()
	return l.await(b)
}

// add appends a line to the open batch. The caller holds mu.
func (l *Log) add(body []byte) *batch {
	b := l.open
	start := len(b.buf)
	b.buf = appendLine(b.buf, l.tip, body)
	l.tip.hash = sha256.Sum256(b.buf[start:])
	l.tip.seq++
	l.count++
	b.buf = append(b.buf, '\n')
	b.tip = l.tip
	return b
}

// addHead signs the last line. A signer that fails costs the signature, not the
// call: the chain goes on, and the next head covers all. The caller holds mu.
func (l *Log) addHead() {
	h, err := sign(l.cfg.Signer, l.tip, l.cfg.Now())
	if err != nil {
		l.cfg.Logger.Error("audit log has no signed head", "path", l.path, "unsigned", l.count, "error", err)
		return
	}
	l.add(h.appendBody(nil)).head = &h
	l.count = 0
}

// await returns when b is in the file, or was given up.
func (l *Log) await(b *batch) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if !b.done {
		l.commit(b)
	}
	return b.err
}

// commit writes b, which is the open batch, to the file. The caller holds wmu.
func (l *Log) commit(b *batch) {
	l.mu.Lock()
	l.open = &batch{buf: l.spare[:0]}
	l.mu.Unlock()
	b.done = true
	b.err = l.write(b.buf)
	if b.err != nil {
		l.rollback(b.err)
	} else {
		l.id.size += int64(len(b.buf))
		l.done = b.tip
		if b.head != nil {
			l.head = b.head
		}
	}
	l.spare = nil
	if cap(b.buf) <= keepBuffer {
		l.spare = b.buf
	}
	b.buf = nil
}

// write appends buf to the file, all of it or nothing. The caller holds wmu.
func (l *Log) write(buf []byte) error {
	if l.broken != nil {
		return l.broken
	}
	if err := l.ours(); err != nil {
		return err
	}
	if _, err := l.file.Write(buf); err != nil {
		// Half a line must not be continued by the next one.
		if cut := l.file.Truncate(l.id.size); cut != nil {
			l.broken = broken(errors.Join(err, cut))
		}
		return fmt.Errorf("write audit log: %w", err)
	}
	if !l.cfg.Sync {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		l.broken = broken(err)
	}
	return l.broken
}

// broken is final. A failed fsync is: the kernel may have dropped the pages, and
// says so only once.
func broken(err error) error {
	return fmt.Errorf("audit log is broken until it is opened again: %w", err)
}

// giveUp breaks the log from outside a write.
func (l *Log) giveUp(err error) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	l.broken = broken(err)
	return l.broken
}

// ours checks that the path still leads to our file and that nobody else has
// cut or extended it: a line in a deleted file is not recorded.
func (l *Log) ours() error {
	now, err := stat(l.path)
	if err != nil {
		return fmt.Errorf("audit log is gone: %w", err)
	}
	if now != l.id {
		return fmt.Errorf("audit log %s was moved, replaced, cut or extended by somebody else", l.path)
	}
	return nil
}

// rollback puts the chain back to what is in the file. Lines that were added
// while the write failed hang on lines that do not exist, so they fail too. The
// caller holds wmu.
func (l *Log) rollback(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open.done, l.open.err = true, err
	l.open = &batch{}
	l.tip = l.done
	l.count = l.uncovered()
}

// uncovered is how many lines of the file no head in it covers. The caller
// holds wmu.
func (l *Log) uncovered() uint64 {
	if l.head == nil {
		return l.done.seq
	}
	return l.done.seq - l.head.Seq - 1 // the head line itself needs none
}

// keepHeads signs and saves heads until the log is closed.
func (l *Log) keepHeads() {
	ticker := time.NewTicker(headInterval)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			l.tick()
		}
	}
}

// tick signs what has no head yet and brings the newest head to the store. What
// fails is logged each time and tried again at the next tick.
func (l *Log) tick() {
	if err := l.signNow(); err != nil {
		l.cfg.Logger.Error("audit log cannot be written: calls are denied", "path", l.path, "error", err)
		return
	}
	if err := l.saveHead(context.Background()); err != nil {
		l.cfg.Logger.Error("audit head is not in the store: a cut-off audit log would not be noticed",
			"path", l.path, "error", err)
	}
}

// signNow writes a head if there are lines without one.
func (l *Log) signNow() error {
	l.mu.Lock()
	if l.count == 0 || l.closed {
		l.mu.Unlock()
		return nil
	}
	l.addHead()
	b := l.open
	l.mu.Unlock()
	return l.await(b)
}

// saveHead brings the newest head of the file to the store. The file is synced
// before: after a power cut the store must not know more than the disk has, or
// the cut would look like tampering. It blocks no call of Record, except for
// what the file system makes of a concurrent fsync.
func (l *Log) saveHead(ctx context.Context) error {
	l.wmu.Lock()
	head, file, known := l.head, l.file, l.head == nil || l.head.Seq == l.saved
	l.wmu.Unlock()
	if known {
		return nil
	}
	if err := file.Sync(); err != nil {
		return l.giveUp(err)
	}
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := l.cfg.Heads.SaveHead(ctx, *head); err != nil {
		return fmt.Errorf("save audit head: %w", err)
	}
	l.wmu.Lock()
	l.saved = head.Seq
	l.wmu.Unlock()
	return nil
}

// Close records that the process stops, signs the last head, saves it and gives
// the file free. The error says what of that failed; the log is closed anyway.
// A second Close does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	body, err := appendBody(nil, &Event{Kind: Stop, Time: l.cfg.Now()})
	b := l.add(body)
	l.addHead()
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	l.stopped.Wait()
	err = errors.Join(err, l.await(b))
	err = errors.Join(err, l.saveHead(context.Background()))
	l.wmu.Lock()
	defer l.wmu.Unlock()
	l.broken = ErrClosed
	return errors.Join(err, l.file.Close())
}

func newLog(cfg Config, path string) *Log {
	if cfg.Every <= 0 {
		cfg.Every = 256
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{cfg: cfg, path: path, open: &batch{}, stop: make(chan struct{})}
	l.bodies.New = func() any { return new(make([]byte, 0, 1024)) }
	return l
}
