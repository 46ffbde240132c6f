package schema_test

import (
	"strings"
	"testing"
)

// Two calls that differ must not share a digest, and a number must not slip past a
// bound because a double cannot tell it from another.
func TestNumberThatADoubleCannotHoldIsRefused(t *testing.T) {
	const rounded = `/n: is a number that JSON peers would round; send it as a string if the tool takes one`
	const unreadable = `/n: is too large, too small or too long a number`
	s := mustCompileInput(t, `{"type":"object","properties":{"n":{"type":"number"},"i":{"type":"integer"}}}`)
	for _, ok := range []string{"0", "-0", "1", "0.1", "1e4", "9007199254740992", "9007199254740994", "-9007199254740991", "1e23", "1E+300", "5e-324", "0.10000000000000001", "2.2250738585072014e-308", "100000000000000000000", "0e5"} {
		s.accepts(`{"n":` + ok + `}`)
	}
	for _, bad := range []string{"9007199254740993", "-9007199254740993", "9.007199254740993e15", "123456789012345678901234567890", "0.1000000000000000055", "9007199254740993.0"} {
		s.refuses(`{"n":`+bad+`}`, rounded)
	}
	for _, bad := range []string{"1e400", "-1e400", "1e9999999", "1e99999999999999999999", "1e-9999999", "1e-400", "0e9999999", "1" + strings.Repeat("0", 200)} {
		s.refuses(`{"n":`+bad+`}`, unreadable)
	}
	for _, ok := range []string{"10000", "1e4", "10000.0", "1.0e4", "100000e-1", "-0.0"} {
		s.accepts(`{"i":` + ok + `}`)
	}
	s.refuses(`{"i":1.5}`, `/i: must be an integer, is a number`)
}

func TestBoundsAboveTwoToThe53AreExact(t *testing.T) {
	s := mustCompileOutput(t, `{"properties":{"max":{"maximum":9007199254740992},"min":{"minimum":9007199254740993},"enum":{"enum":[9007199254740993]},"const":{"const":9007199254740993}}}`)
	s.accepts(`{"max":9007199254740992,"min":9007199254740993,"enum":9007199254740993,"const":9007199254740993}`)
	s.refuses(`{"max":9007199254740993}`, `/max: must be at most 9007199254740992`)
	s.refuses(`{"min":9007199254740992}`, `/min: must be at least 9007199254740993`)
	s.refuses(`{"enum":9007199254740992}`, `/enum: must be one of 9007199254740993`)
	s.refuses(`{"const":9007199254740992}`, `/const: must be 9007199254740993`)
}
