package gateway

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// slowClient is how long a client may take to accept one event or answer, where the
// configuration has no other time.
const slowClient = 30 * time.Second

// keepAlive is how long a stream says nothing at most.
const keepAlive = 15 * time.Second

// errSlow is returned where the client did not take what it was sent in time.
var errSlow = errors.New("the client does not take its answer")

func mediaType(h http.Header) string {
	v := h.Get("Content-Type")
	if v == "application/json" || v == "text/event-stream" {
		return v
	}
	t, _, err := mime.ParseMediaType(v)
	if err != nil {
		return ""
	}
	return t
}

// sse is one event of a stream (HTML Living Standard §9.2.6).
type sse struct {
	id    string
	data  []byte // nil: none
	retry int    // milliseconds; 0: none
	prime bool   // to the client: say the id, and that there is no data yet
}

// events reads an event stream.
type events struct {
	r    *bufio.Reader
	from *body // nil: not an upstream's
}

func newEvents(r io.Reader) *events {
	from, _ := r.(*body)
	return &events{bufio.NewReader(r), from}
}

var errLongEvent = fmt.Errorf("an event is larger than %d bytes", maxResponse)

// next returns the next event that says anything. The bytes are the caller's. At the end
// it returns io.ErrUnexpectedEOF.
func (e *events) next() (sse, error) {
	var ev sse
	for left := maxResponse; ; {
		line, err := e.line(&left)
		if err != nil {
			return sse{}, err
		}
		if len(line) == 0 {
			if len(ev.data) > 0 && e.from != nil {
				e.from.heard()
			}
			if ev.data != nil || ev.id != "" || ev.retry > 0 {
				return ev, nil
			}
			continue
		}
		ev.field(line)
	}
}

// line reads one line, without its end, of at most left bytes.
func (e *events) line(left *int) ([]byte, error) {
	var line []byte
	for {
		part, err := e.r.ReadSlice('\n')
		if *left -= len(part); *left < 0 {
			return nil, errLongEvent
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// field reads one line of an event into ev.
func (ev *sse) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "data":
		if len(ev.data) > 0 {
			ev.data = append(ev.data, '\n')
		}
		ev.data = append(ev.data, value...)
		if ev.data == nil {
			ev.data = []byte{}
		}
	case "id":
		ev.id = visibleASCII(string(value))
	case "retry":
		if n, err := strconv.Atoi(string(value)); err == nil && n > 0 && n < 1<<31 {
			ev.retry = n
		}
	}
}

// stream is the answer to the client: one JSON body, or an event stream from the
// moment that something comes before the answer.
type stream struct {
	w        http.ResponseWriter
	patience time.Duration // for which the client may take nothing of one write
	slow     bool          // it was too long: nothing more is tried
	open     bool
	last     string // id of the event with the answer; empty: none
	status   int    // of the answer, where it is no event; 0: 200
}

// begin makes it an event stream.
func (s *stream) begin() {
	if s.open {
		return
	}
	s.open = true
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
}

// event passes on one event. It returns errSlow for a client that does not take it, and
// another error for one that has gone.
func (s *stream) event(ev sse) error {
	s.begin()
	var b bytes.Buffer
	if ev.id != "" {
		fmt.Fprintf(&b, "id: %s\n", ev.id)
	}
	if ev.retry > 0 {
		fmt.Fprintf(&b, "retry: %d\n", ev.retry)
	}
	if len(ev.data) > 0 {
		b.WriteString("event: message\n")
	}
	if ev.data != nil || ev.prime {
		for _, line := range linesOf(ev.data) {
			fmt.Fprintf(&b, "data: %s\n", line)
		}
	}
	b.WriteByte('\n')
	return s.write(b.Bytes())
}

// linesOf are the lines of data as whoever reads a stream takes them: a lone carriage
// return ends one, too, and is white space to JSON. A client would leave out what comes
// after it, and read another message than was looked at here.
func linesOf(data []byte) [][]byte {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	return bytes.Split(bytes.ReplaceAll(data, []byte("\r"), []byte("\n")), []byte("\n"))
}

// comment keeps the connection from being closed for its silence.
func (s *stream) comment() error {
	s.begin()
	return s.write([]byte(":\n\n"))
}

func (s *stream) write(b []byte) error {
	return s.inTime(func() error {
		_, err := s.w.Write(b)
		return err
	})
}

// inTime has the client take what do writes, in time.
func (s *stream) inTime(do func() error) error {
	if s.slow {
		return errSlow
	}
	c := http.NewResponseController(s.w)
	if err := c.SetWriteDeadline(time.Now().Add(s.patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	err := do()
	if err == nil {
		err = c.Flush()
	}
	if s.slow = errors.Is(err, os.ErrDeadlineExceeded); s.slow {
		return errSlow
	}
	_ = c.SetWriteDeadline(time.Time{}) // the connection goes on to other answers
	return err
}

// final passes on the answer.
func (s *stream) final(raw []byte) {
	if s.open {
		_ = s.event(sse{id: s.last, data: raw}) // fails only when the client has gone
		return
	}
	status := cmp.Or(s.status, http.StatusOK)
	if len(raw) <= unwaited {
		writeBody(s.w, status, raw)
		return
	}
	_ = s.inTime(func() error { writeBody(s.w, status, raw); return nil })
}

// unwaited is how large an answer may be, bytes, for which nobody has to wait: the
// connection's own buffers take it.
const unwaited = 2 << 10

// fail tells the client of a failure instead.
func (s *stream) fail(id jsontext.Value, e *rpcError) {
	if s.open {
		_ = s.event(sse{data: rpcBody(id, nil, e)})
		return
	}
	writeRPC(s.w, id, nil, e)
}

// flush has the client see that the stream is open.
func (s *stream) flush() error { return http.NewResponseController(s.w).Flush() }
