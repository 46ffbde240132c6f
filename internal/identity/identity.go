// Package identity owns the names of those who act: the subject on whose behalf
// a call is made, the OAuth client that makes it, and the SPIFFE ID of a workload that
// is either.
//
// It knows nothing of OAuth messages, tokens or policy, and does NOT verify that
// somebody is who they say. The types are small comparable values whose zero value names nobody; only Parse functions make
// others, so a name that has reached a decision has been checked once.
package identity

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxSubject  = 255  // OpenID Connect Core 1.0 §2 (sub)
	maxClientID = 2048 // long enough for a client ID metadata document's URL or a SPIFFE ID
)

// Errors of the Parse functions.
var (
	ErrBadSubject  = errors.New("subject must be 1 to 255 bytes of printable UTF-8 without spaces, or a SPIFFE ID")
	ErrBadClientID = errors.New("client_id must be 1 to 2048 printable ASCII characters without spaces")
)

// Subject is on whose behalf something is done: a person or a workload
// (RFC 8693 §1.1, RFC 7519 §4.1.2). It is unique within our issuer.
type Subject struct{ name string }

// ParseSubject checks and makes a Subject. It returns ErrBadSubject.
func ParseSubject(s string) (Subject, error) {
	if _, err := ParseSPIFFEID(s); err == nil { // which may be longer
		return Subject{s}, nil
	}
	if s == "" || len(s) > maxSubject || !utf8.ValidString(s) || strings.ContainsFunc(s, notPrintable) {
		return Subject{}, ErrBadSubject
	}
	return Subject{s}, nil
}

// String returns the name, empty for nobody.
func (s Subject) String() string { return s.name }

// IsZero reports whether s names nobody.
func (s Subject) IsZero() bool { return s.name == "" }

// Is reports whether the subject is the client itself: a workload that acts for
// nobody else (RFC 9068 §2.2: sub is then the client_id).
func (s Subject) Is(c ClientID) bool { return s.name != "" && s.name == c.id }

// MarshalText implements encoding.TextMarshaler.
func (s Subject) MarshalText() ([]byte, error) { return []byte(s.name), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseSubject accepts.
func (s *Subject) UnmarshalText(b []byte) error {
	v, err := ParseSubject(string(b))
	if err == nil {
		*s = v
	}
	return err
}

// ClientID names an OAuth client (RFC 6749 §2.2, appendix A.1).
type ClientID struct{ id string }

// ParseClientID checks and makes a ClientID. It returns ErrBadClientID.
func ParseClientID(s string) (ClientID, error) {
	if s == "" || len(s) > maxClientID {
		return ClientID{}, ErrBadClientID
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return ClientID{}, ErrBadClientID
		}
	}
	return ClientID{s}, nil
}

// MustClientID is ParseClientID for constants; it panics on a bad one.
func MustClientID(s string) ClientID {
	c, err := ParseClientID(s)
	if err != nil {
		panic(fmt.Sprintf("client id %q: %v", s, err))
	}
	return c
}

// String returns the identifier, empty for no client.
func (c ClientID) String() string { return c.id }

// IsZero reports whether c names no client.
func (c ClientID) IsZero() bool { return c.id == "" }

// Subject is the subject of a workload that acts for itself. It fails for a
// client_id that is too long for a subject.
func (c ClientID) Subject() (Subject, error) { return ParseSubject(c.id) }

// MarshalText implements encoding.TextMarshaler.
func (c ClientID) MarshalText() ([]byte, error) { return []byte(c.id), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseClientID accepts.
func (c *ClientID) UnmarshalText(b []byte) error {
	v, err := ParseClientID(string(b))
	if err == nil {
		*c = v
	}
	return err
}

// notPrintable reports control characters, spaces and what is invisible: two
// names that differ in nothing that a log shows must be one name. It does not
// tell letters of different scripts apart.
func notPrintable(r rune) bool {
	return r == ' ' || r == utf8.RuneError || !unicode.IsPrint(r) || // IsPrint: no other spaces, controls and format characters
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
