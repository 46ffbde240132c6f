// Package redact owns what is taken out of the text that passes: secrets, e-mail
// addresses, phone, card and bank account numbers, each masked, refused or left
// alone. A mask is a fixed text such as [card], and holds nothing of the value.
//
// Secrets are found by the rules of gitleaks (rules.json, made by tools/gitleaks),
// the rest by form and check digits. Text is looked at as a reader would see it:
// escapes of JSON inside of text are undone, full-width and other digits are digits,
// and characters without a width are not there.
//
// Values that are known (Literal) are found in most of what programs write them as.
//
// It does NOT see a value that is split over two strings, or, unless it is a known one, that
// is encoded (base64, percent, "at" for @), nor names of people and addresses of houses. It does not know
// MCP; the gateway says what passes through it.
package redact

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits. Beyond them nothing passes.
const (
	maxInput     = 4<<20 + 64<<10 // bytes of a value: an upstream's message
	maxArguments = 16 << 10       // bytes that the audit log takes
	maxRounds    = 8              // of looking again at what a mask has changed
)

// Errors of JSON.
var (
	// ErrDenied: there was something of a class whose Action is Deny.
	ErrDenied = errors.New("the text holds what must not pass")
	// ErrUnchecked: the value is too large, or made so that looking takes too long.
	ErrUnchecked = errors.New("the text cannot be checked")
)

// Action is what becomes of a class.
type Action uint8

// The actions; the zero value leaves a class alone.
const (
	Off Action = iota
	Mask
	Deny
)

// ParseAction reads off, mask or deny.
func ParseAction(s string) (Action, error) {
	switch s {
	case "off":
		return Off, nil
	case "mask":
		return Mask, nil
	case "deny":
		return Deny, nil
	}
	return Off, fmt.Errorf("action %q: want off, mask or deny", s)
}

// class is a kind of value. Where two overlap, the first names the mask.
type class uint8

const (
	secret class = iota
	iban
	card
	email
	phone
	credential // of Literal: masked in any case
	classes
)

func (c class) String() string {
	return [classes]string{"secret", "iban", "card", "email", "phone", "credential"}[c]
}

// Config has an Action for each class.
type Config struct {
	Secrets, Email, Phone, Card, IBAN Action
}

// Redactor redacts for one server. It is safe for concurrent use. A nil one passes
// everything, but for Text and Arguments, which still mask secrets.
type Redactor struct {
	actions  [classes]Action
	rules    *ruleset // nil where secrets are off
	literals *literals
}

// New makes a Redactor.
func New(cfg Config) (*Redactor, error) {
	r := &Redactor{actions: [classes]Action{secret: cfg.Secrets, iban: cfg.IBAN, card: cfg.Card, email: cfg.Email, phone: cfg.Phone}}
	for c, a := range r.actions {
		if a > Deny {
			return nil, fmt.Errorf("action %d of class %s: want Off, Mask or Deny", a, class(c))
		}
	}
	if r.actions[secret] == Off {
		return r, nil
	}
	var err error
	r.rules, err = builtin()
	return r, err
}

// classNames are the classes in the words of configuration and policy, in their order.
var classNames = []string{"secrets", "iban", "card", "email", "phone"}

// With is r that masks these classes too, where it leaves them alone: secrets, email,
// phone, card, iban.
func (r *Redactor) With(names ...string) (*Redactor, error) {
	if len(names) == 0 {
		return r, nil
	}
	more := &Redactor{}
	if r != nil {
		*more = *r
	}
	for _, name := range names {
		c := slices.Index(classNames, name)
		if c < 0 {
			return nil, fmt.Errorf("class %q: want secrets, email, phone, card or iban", name)
		}
		more.actions[c] = max(more.actions[c], Mask)
	}
	var err error
	if more.actions[secret] != Off && more.rules == nil {
		more.rules, err = builtin()
	}
	return more, err
}

// Without is r that lets these classes pass: email, phone, card, iban. Secrets it keeps.
func (r *Redactor) Without(names ...string) (*Redactor, error) {
	less := &Redactor{}
	if r != nil {
		*less = *r
	}
	for _, name := range names {
		c := slices.Index(classNames, name)
		if c < 0 || class(c) == secret {
			return nil, fmt.Errorf("class %q: want email, phone, card or iban", name)
		}
		less.actions[c] = Off
	}
	return less, nil
}

// Found counts what was masked, by class.
type Found [classes]int

// Total is the number of masks.
func (f Found) Total() (n int) {
	for _, c := range f {
		n += c
	}
	return n
}

// String is for logs: "card:1 email:2".
func (f Found) String() string {
	var parts []string
	for c, n := range f {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s:%d", class(c), n))
		}
	}
	return strings.Join(parts, " ")
}

// JSON looks at every string, member name and number of one JSON value. out is nil
// when there is nothing to change, so that the very bytes can be passed on. An error
// means that nothing may pass: ErrDenied, ErrUnchecked, or that v is no JSON. It
// names the class, and never the value.
func (r *Redactor) JSON(v jsontext.Value) (out jsontext.Value, found Found, err error) {
	if r == nil || r.actions == [classes]Action{} && r.literals == nil {
		return nil, Found{}, nil
	}
	return r.walk(v)
}

// Arguments is what may be kept of the arguments of a call: what is not off is masked,
// secrets always. It never fails; what cannot be checked, or is too large for the
// audit log, is not kept (nil).
func (r *Redactor) Arguments(v jsontext.Value) jsontext.Value {
	if len(v) == 0 || len(v) > maxArguments {
		return nil
	}
	keeper, err := r.masking()
	if err != nil {
		return nil
	}
	out, _, err := keeper.JSON(v)
	if err != nil || len(out) > maxArguments {
		return nil
	}
	if out == nil {
		return v
	}
	return out
}

// Text is the same for an excerpt that goes into a log.
func (r *Redactor) Text(s string) string {
	keeper, err := r.masking()
	if err != nil {
		return unchecked
	}
	out, err := (&pass{Redactor: keeper, budget: budgetFor(len(s))}).text("", s)
	if err != nil {
		return unchecked
	}
	return out
}

const unchecked = "[not shown]"

// masking is r for what is kept: it masks, and secrets in any case.
func (r *Redactor) masking() (*Redactor, error) {
	keeper := &Redactor{}
	if r != nil {
		keeper.actions, keeper.literals = r.actions, r.literals
	}
	for c, a := range keeper.actions {
		keeper.actions[c] = min(a, Mask)
	}
	keeper.actions[secret] = Mask
	var err error
	keeper.rules, err = builtin()
	return keeper, err
}
