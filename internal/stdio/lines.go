package stdio

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

// Bounds on what a server's standard error may put into the log.
const (
	maxLogged  = 512 // bytes of a line
	maxLogRate = 120 // lines a minute, of one session, or of all processes that serve one request each
	maxMasked  = 64 << 10
)

var errLongLine = errors.New("a line is too long")

// lines calls f for each line of r that is not blank, without its end. A line of more
// than limit bytes is errLongLine. The bytes are f's.
func lines(r io.Reader, limit int, f func(line []byte)) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > limit+1 {
			return errLongLine
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(bytes.TrimSpace(line)) > 0 && err == nil { // what the end cuts off is no message
			f(bytes.TrimRight(line, "\r\n"))
		}
		line = nil
		if err != nil {
			return err
		}
	}
}

// logRate is how much was logged lately.
type logRate struct {
	mu            sync.Mutex // guards what follows
	minute        time.Time
	count, silent int
}

// take reports whether a line may be logged now, and how many were left out before it, if
// a new minute has begun.
func (r *logRate) take(now time.Time) (ok bool, leftOut int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.minute) >= time.Minute {
		leftOut = r.silent
		r.minute, r.count, r.silent = now, 0, 0
	}
	if r.count >= maxLogRate {
		r.silent++
		return false, leftOut
	}
	r.count++
	return true, leftOut
}

// logLines puts r into the log: the beginning of each line, and no more than so many
// lines a minute.
func (s *session) logLines(r io.Reader) {
	br := bufio.NewReaderSize(r, maxMasked)
	for {
		part, err := br.ReadSlice('\n')
		text := s.errorLine(part, err == nil)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if text != "" {
			s.logLine(text)
		}
		if err != nil {
			return
		}
	}
}

func (s *session) logLine(text string) {
	ok, leftOut := s.rate.take(s.t.cfg.Now())
	if leftOut > 0 {
		s.log.Warn("stdio server wrote too much to standard error", "lines_left_out", leftOut)
	}
	if ok {
		s.log.Info("stdio server", "stderr", text)
	}
}

// errorLine is what of a line may be logged. Of one that has no end here, a secret may have
// been cut in two, of which nobody would know the half.
func (s *session) errorLine(line []byte, whole bool) string {
	line = bytes.TrimRight(line, "\r\n")
	if !whole && len(line) > 0 && len(s.secrets) > 0 {
		return "[a line without an end: not shown, for the credential]"
	}
	return cut(s.masked(string(line)))
}

// masked is the text without the secrets of the process's credential; nothing is left of
// it where nobody masks them.
func (s *session) masked(text string) string {
	switch {
	case len(s.secrets) == 0:
		return text
	case s.t.cfg.Mask == nil:
		return "[not shown, for the credential]"
	}
	return s.t.cfg.Mask(s.secrets, text)
}

func cut(text string) string { return text[:min(len(text), maxLogged)] }
