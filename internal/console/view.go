package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// view is a request as a page says it.
type view struct {
	Title, Path          string
	ID, Subject          string
	Through              []string // the client, and who acts between, outermost last
	Server, Tool, Risk   string
	Arguments, Digest    string // masked, and of what they really are
	Rule, Who            string
	State                approval.State
	Asked, Until, Left   string
	DecidedBy, DecidedAt string
	Comment              string
	Ticket               string
	MayDecide, Own       bool
	Outdated             string // why a decision would not count
	StepUp               string // what login is needed; empty: none
	StepUpPath           string
}

func (c *Console) view(s seen) view {
	v := view{Title: title(s), ID: s.ID, Path: PathApprovals + s.ID, Subject: Visible(s.Subject.String()), Server: Visible(s.Server), Tool: Visible(s.Tool), Risk: Visible(s.Risk),
		Through: through(s.Request), Arguments: Pretty(s.Arguments), Digest: Visible(s.ArgumentsDigest), Rule: Visible(ruleName(s.Rule)), Who: Visible(whoMay(s.By)), State: s.State,
		Asked: clock(s.Created), Until: clock(s.Expires), DecidedBy: Visible(s.DecidedBy.String()), Comment: Visible(s.Comment),
		MayDecide: s.mayDecide(), Own: s.standing == requester}
	if !s.DecidedAt.IsZero() {
		v.DecidedAt = clock(s.DecidedAt)
	}
	if s.State == approval.Pending || s.State == approval.Approved {
		v.Left = left(s.Expires.Sub(c.cfg.Now()))
	}
	if s.standing == outdated {
		v.Outdated = capital(newPolicy) + "."
	}
	if s.standing == stale && s.State == approval.Pending {
		v.StepUp, v.StepUpPath = stepUpText(s), v.Path+"/stepup"
	}
	return v
}

func title(s seen) string {
	switch s.State {
	case approval.Pending:
		if s.mayDecide() {
			return "Approve this call?"
		}
		return "This call waits for approval"
	case approval.Approved:
		return "This call was approved"
	case approval.Denied:
		return "This call was denied"
	case approval.Used:
		return "This call was approved, and made"
	}
	return "This request has expired"
}

// through is who is between the subject and us: the client first, and each that acts for
// the one before it.
func through(r approval.Request) []string {
	var out []string
	for _, name := range append(slices.Clone(r.Actors), r.Client.String()) {
		if name = Visible(name); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Reverse(out)
	return out
}

// whoMay says who may approve.
func whoMay(by [][]string) string {
	var all []string
	for _, roles := range by {
		all = append(all, strings.Join(roles, " or "))
	}
	return strings.Join(all, ", and also ")
}

func stepUpText(s seen) string {
	var how []string
	if s.needs.MaxAge > 0 {
		how = append(how, "of the last "+left(s.needs.MaxAge))
	}
	if len(s.needs.ACR) > 0 {
		how = append(how, "of a stronger kind")
	}
	return "a login " + strings.Join(how, ", and ")
}

// clock is a time for people anywhere.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// left is a duration in its largest unit, rounded down: nobody has more time than it says.
func left(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		switch n := int64(d / u.of); {
		case n == 1:
			return "1 " + u.name
		case n > 1:
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return "less than a second"
}

// Pretty is arguments for people. It is one of the last things that they see before they
// say yes, so it shows what is invisible, or turns around what is beside it, as an escape,
// and what can be read as itself, even where the caller has spelled it as an escape.
func Pretty(arguments jsontext.Value) string {
	if len(arguments) == 0 {
		return ""
	}
	v := arguments.Clone()
	if err := v.Format(jsontext.WithIndent("  ")); err != nil {
		return Visible(string(arguments))
	}
	return Visible(string(v))
}

// blank are characters that count as printable and leave nothing to be seen, or a gap like
// a space: fillers, variation selectors, an empty Braille cell, a note without a head. Any
// text can be hidden in them.
var blank = []*unicode.RangeTable{unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector,
	{R16: []unicode.Range16{{0x2800, 0x2800, 1}}, R32: []unicode.Range32{{0x16FE4, 0x16FE4, 1}, {0x1D159, 0x1D159, 1}}}}

// Visible escapes what is not seen: bidirectional controls, zero-width characters and the
// like, and bad UTF-8.
func Visible(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			b.WriteString("\\x" + fmt.Sprintf("%02x", s[i]))
		case r == '\n' || unicode.IsPrint(r) && !unicode.In(r, blank...):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

// capital begins a sentence.
func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// posted reads a form of ours: of this session, about the request.
func (c *Console) posted(r *http.Request, id string) (signedIn, url.Values, error) {
	who, err := c.who(r)
	if err != nil {
		return who, nil, err
	}
	if err := r.ParseForm(); err != nil {
		return who, nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "the form is malformed, or too large", Cause: err}
	}
	if hasTwice(r.PostForm) || !c.isTicket(r.PostForm.Get("ticket"), who, id) {
		return who, nil, errForm
	}
	return who, r.PostForm, nil
}
