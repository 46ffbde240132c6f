package audit

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxLine  = 1 << 18 // bytes; Record refuses a longer line, a reader takes it for a changed one
	maxValue = 1 << 14 // bytes of JSON of the caller's; also keeps its nesting below jsontext's limit
)

// b64 is strict, so that one value has one spelling.
var b64 = base64.RawURLEncoding.Strict()

type digest = [sha256.Size]byte

// appendBody appends the members of e, each with a comma before it. It is
// written by hand because it is run twice a call; TestEveryFieldIsInTheLine
// keeps it complete.
func appendBody(dst []byte, e *Event) ([]byte, error) {
	dst = appendString(dst, `,"kind":`, string(e.Kind))
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	dst = appendString(dst, `,"call":`, e.Call)
	dst = appendString(dst, `,"subject":`, e.Subject)
	if e.Workload {
		dst = append(dst, `,"workload":true`...)
	}
	dst = appendString(dst, `,"client":`, e.Client)
	dst = appendStrings(dst, `,"actors":`, e.Actors)
	dst = appendString(dst, `,"txn":`, e.Txn)
	dst = appendString(dst, `,"token_id":`, e.TokenID)
	dst = appendString(dst, `,"call_token_id":`, e.CallTokenID)
	dst = appendString(dst, `,"operator":`, e.Operator)
	dst = appendString(dst, `,"acr":`, e.ACR)
	dst = appendString(dst, `,"source":`, e.Source)
	dst = appendString(dst, `,"request_id":`, e.RequestID)
	dst = appendString(dst, `,"server":`, e.Server)
	dst = appendString(dst, `,"action":`, e.Action)
	dst = appendString(dst, `,"tool":`, e.Tool)
	dst = appendString(dst, `,"prompt":`, e.Prompt)
	dst = appendString(dst, `,"uri":`, e.URI)
	dst, err1 := appendJSON(dst, `,"arguments":`, e.Arguments)
	dst = appendString(dst, `,"arguments_digest":`, e.ArgumentsDigest)
	dst = appendString(dst, `,"definition_digest":`, e.DefinitionDigest)
	dst = appendString(dst, `,"policy_digest":`, e.PolicyDigest)
	dst = appendString(dst, `,"resource":`, e.Resource)
	dst = appendString(dst, `,"scope":`, e.Scope)
	dst = appendString(dst, `,"decision":`, e.Decision)
	dst = appendString(dst, `,"reason":`, e.Reason)
	dst = appendString(dst, `,"rule":`, e.Rule)
	dst = appendString(dst, `,"approval":`, e.Approval)
	dst = appendString(dst, `,"observed":`, e.Observed)
	dst, err2 := appendJSON(dst, `,"facts":`, e.Facts)
	dst = appendString(dst, `,"status":`, e.Status)
	dst = appendString(dst, `,"lease":`, e.Lease)
	dst = appendString(dst, `,"result_digest":`, e.ResultDigest)
	dst = appendInt(dst, `,"redactions":`, int64(e.Redactions))
	dst = appendInt(dst, `,"dropped":`, int64(e.Dropped))
	dst = appendInt(dst, `,"duration_us":`, e.Duration.Microseconds())
	dst = appendInt(dst, `,"count":`, int64(e.Count))
	return dst, errors.Join(err1, err2)
}

// appendString replaces what is not UTF-8: a line with a replacement character
// is better than a call that an odd byte keeps from being recorded.
func appendString(dst []byte, name, s string) []byte {
	if s == "" {
		return dst
	}
	dst = append(dst, name...)
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

func appendStrings(dst []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, name...)
	for i, s := range list {
		dst = append(dst, "[,"[min(i, 1)])
		dst, _ = jsontext.AppendQuote(dst, s)
	}
	return append(dst, ']')
}

func appendInt(dst []byte, name string, n int64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, name...), n, 10)
}

// appendJSON appends a value of the caller's.
func appendJSON(dst []byte, name string, v jsontext.Value) ([]byte, error) {
	if len(v) == 0 {
		return dst, nil
	}
	if len(v) > maxValue || !v.IsValid() {
		return dst, fmt.Errorf("%w: %s is not JSON of at most %d bytes", ErrBadEvent, strings.Trim(name, `,":`), maxValue)
	}
	v = v.Clone()
	if err := v.Compact(); err != nil { // a newline in it would end the line
		return dst, fmt.Errorf("%w: %w", ErrBadEvent, err)
	}
	return append(append(dst, name...), v...), nil
}

// appendLine appends the line after tip: its place in the chain, then body.
func appendLine(dst []byte, after tip, body []byte) []byte {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, after.seq+1, 10)
	dst = append(dst, `,"prev":"`...)
	dst = b64.AppendEncode(dst, after.hash[:])
	dst = append(dst, '"')
	dst = append(dst, body...)
	return append(dst, '}')
}

// tip is the end of a chain.
type tip struct {
	log  string
	seq  uint64
	hash digest // of the line seq; before the first line: of the log's id
}

func newTip(log string) tip { return tip{log: log, hash: sha256.Sum256([]byte(log))} }

// Line is a line that was read: the event and its place in the log.
type Line struct {
	Event
	Seq  uint64 `json:"seq"`
	Prev string `json:"prev"`
	Log  string `json:"log"` // in the first line only
}

// ParseLine reads one line, without its newline. It does not check the chain.
func ParseLine(b []byte) (Line, error) {
	var v struct {
		Line
		DurationUS int64 `json:"duration_us"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return Line{}, fmt.Errorf("%w: %w", ErrBadLine, err)
	}
	v.Duration = time.Duration(v.DurationUS) * time.Microsecond
	return v.Line, nil
}

// ErrBadLine is of what is no line, as a crash or a full disk may leave one, and of a last
// one that is torn or still being written.
var ErrBadLine = errors.New("not a line of an audit log")

// Lines reads the lines of a log for replay and for shipping. It does not check the
// chain (Verify does). After ErrBadLine it goes on with the next line; after any other
// error there is none.
func Lines(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		lr := newLineReader(r)
		for {
			raw, err := lr.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Line{}, fmt.Errorf("read audit log: %w", err))
				return
			}
			if !yield(raw.parse()) {
				return
			}
		}
	}
}

// rawLine is one line of a file, whatever it holds.
type rawLine struct {
	text       []byte // without the newline, valid until the next read; nil if longer than maxLine
	sum        digest // of the line without its newline
	size       int64  // with its newline
	terminated bool   // has a newline
}

func (l rawLine) parse() (Line, error) {
	if !l.terminated {
		return Line{}, fmt.Errorf("%w: it has no end", ErrBadLine)
	}
	return ParseLine(l.text)
}

// lineReader reads a file of any size and any line length in bounded memory.
type lineReader struct{ r *bufio.Reader }

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{bufio.NewReaderSize(r, maxLine+1)}
}

// next returns io.EOF after the last line.
func (r *lineReader) next() (rawLine, error) {
	b, err := r.r.ReadSlice('\n')
	switch {
	case err == nil:
		text := b[:len(b)-1]
		return rawLine{text, sha256.Sum256(text), int64(len(b)), true}, nil
	case errors.Is(err, bufio.ErrBufferFull):
		return r.long(b)
	case err == io.EOF && len(b) > 0:
		return rawLine{b, sha256.Sum256(b), int64(len(b)), false}, nil
	}
	return rawLine{}, err
}

// long reads the rest of a line that is longer than we ever write.
func (r *lineReader) long(b []byte) (rawLine, error) {
	var l rawLine
	h := sha256.New()
	for err := error(bufio.ErrBufferFull); err != nil; b, err = r.r.ReadSlice('\n') {
		if err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return rawLine{}, err
		}
		h.Write(b)
		l.size += int64(len(b))
		if err == io.EOF {
			h.Sum(l.sum[:0])
			return l, nil
		}
	}
	h.Write(b[:len(b)-1])
	h.Sum(l.sum[:0])
	l.size += int64(len(b))
	l.terminated = true
	return l, nil
}

// atEnd reports whether nothing follows.
func (r *lineReader) atEnd() bool {
	_, err := r.r.Peek(1)
	return err != nil
}
