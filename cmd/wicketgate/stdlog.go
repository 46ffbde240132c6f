package main

import (
	"bytes"
	"io"
	"slices"
)

// unquoted is for the standard logger, into which net/http writes that a server has said
// something on a connection where nothing was asked, with the beginning of it in quotes: its
// credential, or lines of a log that we never wrote.
type unquoted struct{ to io.Writer }

// Write implements io.Writer.
func (u unquoted) Write(p []byte) (int, error) {
	text, _, quotes := bytes.Cut(p, []byte{'"'})
	if quotes {
		text = append(slices.Clip(text), "[not shown]\n"...)
	}
	if _, err := u.to.Write(text); err != nil {
		return 0, err
	}
	return len(p), nil
}
