// Package inspect looks for what a tool's definition should not have: characters that
// nobody sees, markup, instructions to the model that reads it, and names that are taken
// for another's. A finding helps the operator who approves a definition, and keeps one
// from being approved without any.
//
// It is pure: it follows no reference, and runs nothing of what it reads. It does NOT
// prove that a definition is harmless. Its patterns are English, and an instruction that
// is worded as a description is for a person to judge.
package inspect

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Severity says what a finding does.
type Severity string

// The severities.
const (
	Block Severity = "block" // approved by nobody but an operator who accepts it by its code
	Warn  Severity = "warn"  // shown
)

// Codes of findings.
const (
	HiddenUnicode    = "hidden-unicode"    // shown as nothing, or in another order than it is read
	ControlCharacter = "control-character" // does something to a terminal
	MixedScript      = "mixed-script"      // one word of two alphabets, which looks like another word
	Markup           = "markup"            // HTML, comments, and delimiters of prompts
	Link             = "link"              // to what the model or its client may fetch
	Override         = "override"          // of what the model was told before, or of the person who decides
	Secrecy          = "secrecy"           // from the person for whom the model works
	Shadowing        = "shadowing"         // says how other tools are to be used
	Ordering         = "ordering"          // wants to be called first, or something read before
	Exfiltration     = "exfiltration"      // data sent to where the tool does not say
	CredentialPath   = "credential-path"   // where secrets are kept
	ContextParameter = "context-parameter" // an argument that is filled with what the model was told
	EncodedBlob      = "encoded-blob"      // nobody reads it, but a model does
	Padding          = "padding"           // pushes what follows out of sight
	TooLong          = "too-long"          // for anybody to read
	BadName          = "bad-name"          // never exposed
	NameCollision    = "name-collision"    // looks like the name of another tool of the server
	Unreadable       = "unreadable"        // no JSON object with a name
)

// Finding is one thing that was found, and where.
type Finding struct {
	Code     string
	Severity Severity
	Pointer  string // JSON pointer (RFC 6901) into the definition; of a name: to its member
	Detail   string // what it was, in printable ASCII
}

func (f Finding) String() string {
	return fmt.Sprintf("%s %s at %s: %s", f.Severity, f.Code, printable(f.Pointer), f.Detail)
}

// Blocked returns the codes of the findings that block, each once, in order.
func Blocked(all []Finding) (codes []string) {
	for _, f := range all {
		if f.Severity == Block {
			codes = append(codes, f.Code)
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// maxFindings bounds what one definition can make an operator read.
const maxFindings = 100

// Definition inspects every string of a tool's definition, names of members too: a
// model reads all of it.
func Definition(definition jsontext.Value) []Finding {
	var found []Finding
	err := strs(definition, func(s text) {
		if len(found) < maxFindings {
			found = append(found, s.inspect()...)
		}
	})
	if err != nil || definition.Kind() != '{' {
		found = append(found, Finding{Unreadable, Block, "", "it is no JSON object"})
	}
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Compare(a.Severity, b.Severity) })
	return slices.Compact(found[:min(len(found), maxFindings)])
}

// text is a string of a definition.
type text struct {
	value   string
	pointer string
	name    bool // of a member
}

// strs calls f for every string of the value.
func strs(value jsontext.Value, f func(text)) error {
	d := jsontext.NewDecoder(bytes.NewReader(value))
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if token.Kind() != '"' {
			continue
		}
		kind, length := d.StackIndex(d.StackDepth())
		f(text{token.String(), string(d.StackPointer()), kind == '{' && length%2 == 1})
	}
}

func (t text) inspect() (found []Finding) {
	add := func(code string, severity Severity, detail string) {
		found = append(found, Finding{code, severity, t.pointer, detail})
	}
	t.characters(add)
	t.shape(add)
	t.markup(add)
	t.instructions(add)
	return found
}

// find is how a check says what it found.
type find func(code string, severity Severity, detail string)

// last is the name of the member that the pointer ends with.
func (t text) last() string { return t.pointer[strings.LastIndexByte(t.pointer, '/')+1:] }

// printable is s in ASCII that does nothing to a terminal, cut short.
func printable(s string) string {
	quoted := fmt.Sprintf("%+q", s)
	quoted = quoted[1 : len(quoted)-1]
	if len(quoted) > 80 {
		return quoted[:77] + "..."
	}
	return quoted
}
