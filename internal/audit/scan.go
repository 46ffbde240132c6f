package audit

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
)

// BreakKind says how a log was tampered with, as well as the file can tell.
type BreakKind string

// The kinds of breaks.
const (
	Changed      BreakKind = "changed line"
	Missing      BreakKind = "missing lines"
	Reordered    BreakKind = "reordered lines"
	CutOff       BreakKind = "cut off"            // shorter than the head in the store
	Gone         BreakKind = "file gone"          // while the store knows its head
	Replaced     BreakKind = "another log"        // not the one that the store knows
	Rewritten    BreakKind = "rewritten"          // a valid chain, but not the one in the store
	BadSignature BreakKind = "bad head signature" // in the file, or in the store when Line is 0
)

// Break is the first place where a log is not what was written.
type Break struct {
	Kind   BreakKind
	Line   int    // counted from 1; 0 when no line is to blame
	Seq    uint64 // the number that the line has or should have
	Detail string
}

// String returns the break in words.
func (b Break) String() string {
	if b.Line == 0 {
		return fmt.Sprintf("%s: %s", b.Kind, b.Detail)
	}
	return fmt.Sprintf("line %d (seq %d): %s: %s", b.Line, b.Seq, b.Kind, b.Detail)
}

// Torn is what a crash left of the last line. It was never acknowledged.
type Torn struct {
	Bytes  int64
	SHA256 string // base64url
}

// header is what the chain needs of a line.
type header struct {
	Seq       uint64 `json:"seq"`
	Prev      string `json:"prev"`
	Log       string `json:"log"`
	Kind      Kind   `json:"kind"`
	Time      string `json:"time"`
	KeyID     string `json:"kid"`
	Signature string `json:"signature"`
}

// scanner checks a log from its first line to its end, in one pass.
type scanner struct {
	stored *Head // must be in the file, when set
	keys   Keys  // signatures are checked when set

	in    *lineReader
	lines int
	tip   tip
	size  int64 // of the whole lines
	heads int
	head  Head // the newest in the file
	torn  *Torn
	found *Break
}

// scan reads until the first break or the end. The error is one of reading.
func (s *scanner) scan(r io.Reader) error {
	s.in = newLineReader(r)
	for s.found == nil && s.torn == nil {
		raw, err := s.in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		s.line(raw)
	}
	if s.found == nil && s.stored != nil && s.tip.seq <= s.stored.Seq {
		s.found = &Break{Kind: CutOff, Line: s.lines + 1, Seq: s.tip.seq + 1, Detail: fmt.Sprintf(
			"the file ends after line %d, but the store holds a signed head for line %d, which line %d repeats",
			s.tip.seq, s.stored.Seq, s.stored.Seq+1)}
	}
	return nil
}

func (s *scanner) line(raw rawLine) {
	h, ok := parseHeader(raw)
	if !raw.terminated || !ok && s.in.atEnd() {
		s.torn = &Torn{raw.size, b64.EncodeToString(raw.sum[:])}
		return
	}
	s.lines++
	if !ok {
		s.fail(Changed, s.tip.seq+1, "not a line of an audit log")
		return
	}
	if s.lines == 1 {
		s.tip = newTip(h.Log)
	}
	s.chain(h, raw)
	if s.found == nil {
		s.checkHead(h, raw.text)
	}
	s.tip.seq, s.tip.hash = h.Seq, raw.sum
	s.size += raw.size
}

// chain checks the place of a line after the tip.
func (s *scanner) chain(h header, raw rawLine) {
	switch {
	case h.Seq != s.tip.seq+1:
		s.outOfOrder(h, s.tip.seq+1)
	case h.Prev != b64.EncodeToString(s.tip.hash[:]):
		s.brokenLink(h, raw.sum)
	case (h.Log != "") != (s.lines == 1):
		s.fail(Changed, h.Seq, "the first line names the log, and no other")
	}
}

// outOfOrder tells apart why a line has another number than want: if the wanted
// line comes later, lines were moved; if the next line is in its place, only
// this number was changed; else lines are missing.
func (s *scanner) outOfOrder(h header, want uint64) {
	following, later := s.lookAhead(want)
	switch {
	case later:
		s.fail(Reordered, h.Seq, fmt.Sprintf("line %d should stand here and comes later", want))
	case following == want+1:
		s.fail(Changed, h.Seq, fmt.Sprintf("its number was %d", want))
	case h.Seq > want:
		s.fail(Missing, h.Seq, fmt.Sprintf("lines %d to %d are not there", want, h.Seq-1))
	default:
		s.fail(Reordered, h.Seq, fmt.Sprintf("line %d should stand here", want))
	}
}

// lookAhead returns the number of the next line, and whether the line want
// comes at all.
func (s *scanner) lookAhead(want uint64) (following uint64, later bool) {
	for i := 0; ; i++ {
		raw, err := s.in.next()
		if err != nil {
			return following, false
		}
		h, ok := parseHeader(raw)
		if i == 0 {
			following = h.Seq
		}
		if ok && h.Seq == want {
			return following, true
		}
	}
}

// brokenLink blames the line before, unless the next one, or for the last line
// the stored head, shows that this one was changed.
func (s *scanner) brokenLink(h header, sum digest) {
	next, err := s.in.next()
	after, ok := parseHeader(next)
	intact := !ok || after.Prev == b64.EncodeToString(sum[:])
	if err == io.EOF && s.stored != nil && s.stored.Hash == b64.EncodeToString(s.tip.hash[:]) {
		intact = false
	}
	if intact && s.lines > 1 {
		s.lines--
		s.fail(Changed, h.Seq-1, "its hash is not the one that the line after it holds")
		return
	}
	s.fail(Changed, h.Seq, "it does not hold the hash of the line before it")
}

// checkHead checks a head line, and the place where the stored head must be. A
// head line is compared byte for byte with the one we would write, because the
// last one of a file has no line after it that would vouch for it.
func (s *scanner) checkHead(h header, text []byte) {
	isStored := s.stored != nil && h.Seq == s.stored.Seq+1
	if h.Kind != Headed {
		if isStored {
			s.fail(Rewritten, h.Seq, "the store holds a signed head that should stand here")
		}
		return
	}
	t, err := time.Parse(time.RFC3339Nano, h.Time)
	head := headOf(s.tip, t)
	head.KeyID, head.Signature = h.KeyID, h.Signature
	if err != nil || !bytes.Equal(text, appendLine(nil, s.tip, head.appendBody(nil))) {
		s.fail(Changed, h.Seq, "not a head line as the log writes them")
		return
	}
	if isStored && !head.same(*s.stored) {
		s.fail(Rewritten, h.Seq, "the store holds another signed head for this place")
		return
	}
	s.checkSignature(head)
}

func (s *scanner) checkSignature(h Head) {
	if s.keys != nil {
		if bad := h.verify(s.keys); bad != "" {
			s.fail(BadSignature, h.Seq+1, bad)
			return
		}
	}
	s.heads++
	s.head = h
}

func (s *scanner) fail(kind BreakKind, seq uint64, detail string) {
	s.found = &Break{Kind: kind, Line: s.lines, Seq: seq, Detail: detail}
}

// parseHeader is strict about JSON and about nothing else: later versions may
// add members.
func parseHeader(raw rawLine) (header, bool) {
	var h header
	if raw.text == nil || json.Unmarshal(raw.text, &h) != nil {
		return header{}, false
	}
	return h, h.Seq > 0 && h.Prev != "" && h.Kind != ""
}
