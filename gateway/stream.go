package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

func mediaType(resp *http.Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// events reads an event stream (HTML Living Standard §9.2.6), of which only data
// counts here. The reader below it bounds its size.
type events struct{ r *bufio.Reader }

func newEvents(r io.Reader) *events { return &events{bufio.NewReader(r)} }

// next returns the data of the next event that has any. The bytes are the
// caller's. At the end it returns io.ErrUnexpectedEOF.
func (e *events) next() ([]byte, error) {
	var data []byte
	has := false
	for {
		line, err := e.r.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if len(data) > 0 {
				return data, nil
			}
			has = false
			continue
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		if has {
			data = append(data, '\n')
		}
		data, has = append(data, bytes.TrimPrefix(value, []byte(" "))...), true
	}
}

// stream is the answer to the client: one JSON body, or an event stream from the
// moment that something comes before the answer.
type stream struct {
	w    http.ResponseWriter
	open bool
}

// notification passes on a message that came before the answer.
func (s *stream) notification(raw []byte) error {
	if !s.open {
		s.open = true
		h := s.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		s.w.WriteHeader(http.StatusOK)
	}
	s.event(raw)
	return nil
}

func (s *stream) event(raw []byte) {
	var b bytes.Buffer
	b.WriteString("event: message\n")
	for line := range bytes.Lines(raw) {
		fmt.Fprintf(&b, "data: %s\n", bytes.TrimRight(line, "\r\n"))
	}
	b.WriteByte('\n')
	_, _ = s.w.Write(b.Bytes()) // fails only when the client has gone
	_ = http.NewResponseController(s.w).Flush()
}

// final passes on the answer.
func (s *stream) final(raw []byte) {
	if s.open {
		s.event(raw)
		return
	}
	writeBody(s.w, http.StatusOK, raw)
}

// fail tells the client of a failure instead.
func (s *stream) fail(id jsontext.Value, e *rpcError) {
	if s.open {
		s.event(rpcBody(id, nil, e))
		return
	}
	writeRPC(s.w, id, nil, e)
}
