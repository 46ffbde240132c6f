package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/inspect"
	"github.com/wicketgate/wicketgate/internal/token"
)

// waiting is a definition that waits for an operator.
type waiting struct {
	gateway.Candidate
	pin    gateway.Pin
	others []gateway.Pin // all of the server
	older  bool          // a newer one waits, too
}

// waitingOf lists what waits, of pins that are all those of their servers.
func waitingOf(pins []gateway.Pin) (all []waiting) {
	for _, p := range pins {
		others := slices.DeleteFunc(slices.Clone(pins), func(o gateway.Pin) bool { return o.Server != p.Server || o.Tool == p.Tool })
		if !p.Approved {
			all = append(all, waiting{gateway.Candidate{Digest: p.Digest, Definition: p.Definition, Seen: p.Seen}, p, others, p.Pending.Digest != ""})
		}
		if p.Pending.Digest != "" {
			all = append(all, waiting{p.Pending, p, others, false})
		}
	}
	return all
}

// findings are what was found in the definition, and in its name among the others'.
func (w waiting) findings() (found []inspect.Finding) {
	if !token.ValidToolName(w.pin.Tool) {
		found = append(found, inspect.Finding{Code: inspect.BadName, Severity: inspect.Block, Pointer: "/name",
			Detail: "a name is 1 to 128 of A-Z a-z 0-9 _ . - /; the tool is never exposed"})
	}
	for _, o := range w.others {
		if inspect.Skeleton(o.Tool) == inspect.Skeleton(w.pin.Tool) {
			found = append(found, inspect.Finding{Code: inspect.NameCollision, Severity: inspect.Block, Pointer: "/name", Detail: "looks like " + escape(o.Tool)})
		}
	}
	if len(w.Definition) > 0 { // a gateway tells an authorization server elsewhere the digest alone
		found = append(found, inspect.Definition(w.Definition)...)
	}
	return found
}

// mayApprove wants each finding that blocks to be accepted by its code.
func (w waiting) mayApprove(blocked, accept []string) error {
	if slices.Contains(blocked, inspect.BadName) {
		return fmt.Errorf("%s: a tool of such a name is never exposed", escape(w.pin.Tool))
	}
	if err := w.whole(); err != nil {
		return err
	}
	for _, code := range accept {
		if !slices.Contains(blocked, code) {
			return fmt.Errorf("--accept %s: there is no such finding that blocks", escape(code))
		}
	}
	missing := slices.DeleteFunc(slices.Clone(blocked), func(code string) bool { return slices.Contains(accept, code) })
	if len(missing) > 0 {
		return fmt.Errorf("%s has findings that block: wicketgate tools diff shows them; --accept %s approves it nevertheless", escape(w.pin.Tool), strings.Join(missing, ","))
	}
	return nil
}

var errNotWhole = errors.New("the definition in the store is not that of its digest: somebody has changed the store")

// whole makes sure that what is shown is what is approved.
func (w waiting) whole() error {
	if len(w.Definition) == 0 {
		return nil
	}
	if digest, err := token.DigestDefinition(w.Definition); err != nil || digest != w.Digest {
		return fmt.Errorf("%s: %w", escape(w.pin.Tool), errNotWhole)
	}
	return nil
}

// showWaiting shows what waits of a tool, or of every one.
func showWaiting(stdout io.Writer, pins []gateway.Pin, tool string) error {
	shown := 0
	for _, w := range waitingOf(pins) {
		if tool != "" && w.pin.Tool != tool {
			continue
		}
		if err := w.show(stdout); err != nil {
			return err
		}
		shown++
	}
	if shown == 0 {
		fmt.Fprintln(stdout, "nothing waits for approval")
	}
	return nil
}

func (w waiting) show(stdout io.Writer) error {
	if err := w.whole(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s %s: %s, seen %s\ndigest %s\n", escape(w.pin.Server), escape(w.pin.Tool), w.state(), date(w.Seen), w.Digest)
	if from := w.renamed(); from != "" {
		fmt.Fprintf(stdout, "renamed: but for its name it is %s\n", escape(from))
	}
	for _, f := range w.findings() {
		fmt.Fprintln(stdout, f)
	}
	if len(w.Definition) == 0 {
		fmt.Fprintf(stdout, "known by its digest alone: look at it where its gateway is\n\n")
		return nil
	}
	after, err := pretty(w.Definition)
	if err != nil {
		return err
	}
	if w.pin.Digest == w.Digest || len(w.pin.Definition) == 0 {
		fmt.Fprintf(stdout, "%s\n", after)
		return nil
	}
	before, err := pretty(w.pin.Definition)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s\n", udiff.Unified("pinned "+w.pin.Digest, "waiting "+w.Digest, before, after))
	return nil
}

func (w waiting) state() string {
	switch {
	case w.pin.Quarantined():
		return "in quarantine"
	case w.pin.Approved:
		return "changed"
	case w.older:
		return "new, and changed since"
	}
	return "new"
}

// renamed returns the other tool whose definition this is but for the name.
func (w waiting) renamed() string {
	anonymous := nameless(w.Definition)
	for _, o := range w.others {
		if anonymous != "" && nameless(o.Definition) == anonymous {
			return o.Tool
		}
	}
	return ""
}

// nameless is the digest of a definition without its name; empty for none.
func nameless(definition []byte) string {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(definition, &members); err != nil {
		return ""
	}
	delete(members, "name")
	rest, err := json.Marshal(members)
	if err != nil {
		return ""
	}
	digest, err := token.DigestDefinition(rest)
	if err != nil {
		return ""
	}
	return digest
}

// pretty is a definition in lines to be compared, in ASCII.
func pretty(definition []byte) (string, error) {
	v := jsontext.Value(slices.Clone(definition))
	if err := v.Format(jsontext.Multiline(true), jsontext.WithIndent("  "), jsontext.ReorderRawObjects(true)); err != nil {
		return "", fmt.Errorf("format definition: %w", err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(v)) {
		lines.WriteString(escape(strings.TrimSuffix(line, "\n")) + "\n")
	}
	return lines.String(), nil
}

// escape keeps what a server or an operator wrote from doing anything to a terminal, or
// from looking like something else: all but printable ASCII is escaped as JSON does it.
func escape(s string) string {
	var out strings.Builder
	for _, r := range s {
		switch {
		case r >= ' ' && r <= '~':
			out.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&out, `\u{%x}`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}
