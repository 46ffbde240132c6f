package gateway

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/policies"
)

// Errors of filtering. None holds anything of the answer.
var (
	errNoRecords = errors.New("it has no list of records where policy looks for one")
	errNoJSON    = errors.New("it is neither structured nor text that is strict JSON")
	errAsksMore  = errors.New("it asks for input")
)

// What stands for the texts of a server in the answer to a filtered call: they may hold
// the records that are kept back.
const (
	withheldError = "the tool reported an error, whose text is withheld by policy"
	withheldFault = "the server reported an error, whose text is withheld by policy"
)

// errFilter tells the client that there is an answer which it may not have.
func errFilter(cause error) *rpcError {
	return &rpcError{Code: codeDenied, Message: "the answer is not of a form that policy can filter, and is withheld", reason: "filter_impossible", cause: cause}
}

// filterCall is step 9 for the records of a result: those pass that a rule shows. It is for
// a result whose output schema was checked, and fails closed: what is not a result of
// records is not passed on at all.
func (p *passage) filterCall(result object, out *outcome) (jsontext.Value, *rpcError) {
	if text(result.get("resultType")) == inputRequired {
		return nil, errFilter(errAsksMore)
	}
	if string(result.get("isError")) == "true" {
		return object{{"content", textBlocks(withheldError)}, {"isError", jsontext.Value("true")}}.with(), nil
	}
	f := &filter{p: p}
	content, structured, err := f.result(result)
	if err != nil {
		return nil, errFilter(err)
	}
	out.dropped, out.redactions = f.dropped, f.redactions
	return object{{"content", content}}.with(member{"structuredContent", structured}), nil
}

// filter is one result on its way through the rules of its call.
type filter struct {
	p                   *passage
	dropped, redactions int
}

// result filters the structured form, and has the text say the same; without one, each
// text is filtered as if it were it. Images, sounds, resources and links are left out: nobody
// can tell which records they show.
func (f *filter) result(result object) (content, structured jsontext.Value, err error) {
	if v := result.get("structuredContent"); v != nil {
		if structured, err = f.records(v); err != nil {
			return nil, nil, err
		}
		return textBlocks(string(structured)), structured, nil
	}
	var texts []string
	err = elements(orNone(result.get("content")), func(block jsontext.Value) error {
		o, err := readObject(block)
		if err != nil || text(o.get("type")) != "text" {
			return err
		}
		said := jsontext.Value(text(o.get("text")))
		if deeperThan(said, maxDepth) || !said.IsValid() {
			return errNoJSON
		}
		shown, err := f.records(said)
		texts = append(texts, string(shown))
		return err
	})
	if err == nil && len(texts) == 0 {
		err = errNoJSON
	}
	return textBlocks(texts...), nil, err
}

func orNone(v jsontext.Value) jsontext.Value {
	if v == nil {
		return jsontext.Value("[]")
	}
	return v
}

func textBlocks(texts ...string) jsontext.Value {
	out := []byte{'['}
	for i, t := range texts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, object{{"type", quote("text")}, {"text", quote(t)}}.with()...)
	}
	return append(out, ']')
}

// records filters every list that a rule filters, the innermost first: a record that is
// dropped moves those after it.
func (f *filter) records(v jsontext.Value) (jsontext.Value, error) {
	var lists []string
	for _, r := range f.p.terms.rules {
		for _, of := range r.Filters {
			if !slices.Contains(lists, of.At) {
				lists = append(lists, of.At)
			}
		}
	}
	slices.SortStableFunc(lists, func(a, b string) int { return cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")) })
	for _, at := range lists {
		path, err := pointer(at)
		if err != nil {
			return nil, err
		}
		if v, err = edit(v, path, func(list jsontext.Value) (jsontext.Value, error) { return f.list(at, list) }); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// list keeps the records that a rule shows, each redacted as all rules do that show it.
func (f *filter) list(at string, list jsontext.Value) (jsontext.Value, error) {
	kept := []byte{'['}
	err := elements(list, func(record jsontext.Value) error {
		shown, err := f.record(at, record)
		if err != nil {
			return err
		}
		if shown == nil {
			f.dropped++
			return nil
		}
		if len(kept) > 1 {
			kept = append(kept, ',')
		}
		kept = append(kept, shown...)
		return nil
	})
	return append(kept, ']'), err
}

// record is the record as the caller sees it; nil: not at all.
func (f *filter) record(at string, record jsontext.Value) (jsontext.Value, error) {
	o, err := readObject(record)
	if err != nil {
		return nil, nil // is no object
	}
	var show []policies.Terms
	for _, r := range f.p.terms.rules {
		if passes(r.Filters, at, o) {
			show = append(show, r)
		}
	}
	if len(show) == 0 {
		return nil, nil
	}
	classes := common(show)
	if !slices.ContainsFunc(classes, func(c string) bool { return !slices.Contains(f.p.terms.redact, c) }) {
		return record, nil // which is masked with the rest
	}
	more, err := f.p.up.Redactor.With(classes...)
	if err != nil {
		return nil, err
	}
	return f.masked(more, record)
}

func (f *filter) masked(by *redact.Redactor, record jsontext.Value) (jsontext.Value, error) {
	masked, found, err := by.JSON(record)
	if err != nil {
		return nil, err
	}
	f.redactions += found.Total()
	if masked != nil {
		return masked, nil
	}
	return record, nil
}

// passes reports whether the record passes every filter of one rule for its list.
func passes(filters []policies.Filter, at string, record object) bool {
	for _, f := range filters {
		if f.At == at && !matches(f, record) {
			return false
		}
	}
	return true
}

// matches fails for a record without the field, with one that some parser might take for
// it, and for a value of another type.
func matches(f policies.Filter, record object) bool {
	v := record.get(f.Field)
	if v == nil || record.only(f.Field) != nil {
		return false
	}
	return slices.ContainsFunc(f.In, func(in jsontext.Value) bool { return sameScalar(v, in) })
}

func sameScalar(a, b jsontext.Value) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case '"':
		return text(a) == text(b)
	case '0':
		x, ok := decimalOf(a)
		y, also := decimalOf(b)
		return ok && also && x == y
	case 't', 'f':
		return true
	}
	return false
}

// decimal is a number in one spelling: 1, 1.0 and 10e-1 are the same, and no two numbers
// are for want of digits.
type decimal struct {
	negative bool
	digits   string // without zeros at either end; empty: 0
	exponent int    // of ten, of the last digit
}

func decimalOf(v jsontext.Value) (d decimal, ok bool) {
	s, negative := strings.CutPrefix(string(v), "-")
	mantissa, power, _ := strings.Cut(strings.ToLower(s), "e")
	if power != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(power, "+"))
		if err != nil || n > 1<<30 || n < -(1<<30) {
			return decimal{}, false
		}
		d.exponent = n
	}
	whole, part, _ := strings.Cut(mantissa, ".")
	d.exponent -= len(part)
	digits := whole + part
	d.digits = strings.TrimRight(digits, "0")
	d.exponent += len(digits) - len(d.digits)
	if d.digits = strings.TrimLeft(d.digits, "0"); d.digits == "" {
		return decimal{}, true
	}
	d.negative = negative
	return d, true
}

// pointer reads a JSON pointer (RFC 6901).
func pointer(at string) ([]string, error) {
	p := jsontext.Pointer(at)
	if !p.IsValid() {
		return nil, fmt.Errorf("%w: the pointer is none", errNoRecords)
	}
	return slices.Collect(p.Tokens()), nil
}

// edit is v with what is at the path replaced. What could be taken for a step of the path,
// beside it, is refused.
func edit(v jsontext.Value, path []string, f func(jsontext.Value) (jsontext.Value, error)) (jsontext.Value, error) {
	if len(path) == 0 {
		return f(v)
	}
	if v.Kind() == '[' {
		return editElement(v, path, f)
	}
	o, err := readObject(v)
	if err != nil || o.only(path[0]) != nil || o.get(path[0]) == nil {
		return nil, errNoRecords
	}
	inner, err := edit(o.get(path[0]), path[1:], f)
	if err != nil {
		return nil, err
	}
	return o.set(path[0], inner).with(), nil
}

func editElement(v jsontext.Value, path []string, f func(jsontext.Value) (jsontext.Value, error)) (jsontext.Value, error) {
	i, found, parts := 0, false, [][]byte{}
	err := elements(v, func(e jsontext.Value) (err error) {
		if strconv.Itoa(i) == path[0] {
			found = true
			e, err = edit(e, path[1:], f)
		}
		i++
		parts = append(parts, e)
		return err
	})
	if err == nil && !found {
		err = errNoRecords
	}
	return append(append([]byte{'['}, bytes.Join(parts, []byte{','})...), ']'), err
}

// withheld is an error of the server's without its texts.
func withheld(code jsontext.Value) jsontext.Value {
	return object{{"code", code}, {"message", quote(withheldFault)}}.with()
}

// progressOnly is what of a notification passes during a filtered call: numbers, of the
// progress that the client asked for; nil: nothing.
func (p *passage) progressOnly(method string, params object, sent outgoing) []byte {
	token, as := p.meta.progress, p.meta.progress
	if sent.progress != nil {
		token, as = sent.id, sent.progress
	}
	if method != "notifications/progress" || token == nil || string(params.get("progressToken")) != string(token) {
		return nil
	}
	kept := object{{"progressToken", as}}
	for _, name := range []string{"progress", "total"} {
		if v := params.get(name); v.Kind() == '0' {
			kept = append(kept, member{name, v})
		}
	}
	return envelope(nil, method, kept.with())
}
