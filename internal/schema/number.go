package schema

import (
	stdjson "encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// number keeps the literal with all its digits, for a float64 would let
// 9007199254740993 pass for …992; within bounds in which the library's rationals
// are cheap (a larger exponent makes it panic). In arguments it must mean the same
// after RFC 8785 §3.2.2.3, or two different calls would share a digest.
func (r *reader) number(raw jsontext.Value) (any, error) {
	literal := string(raw)
	if len(literal) <= 15 && !strings.ContainsAny(literal, ".eE") {
		return stdjson.Number(literal), nil
	}
	f, err := strconv.ParseFloat(literal, 64)
	digits, exponent := decimal(literal)
	switch {
	case err != nil || len(literal) > maxLiteral || max(exponent, -exponent) > maxExponent || f == 0 && digits != "":
		return nil, fmt.Errorf("%s: is too large, too small or too long a number", where(r.d.StackPointer()))
	case r.schema != nil && r.schema.exact && !survives(f, digits, exponent):
		return nil, fmt.Errorf("%s: is a number that JSON peers would round; send it as a string if the tool takes one", where(r.d.StackPointer()))
	}
	return stdjson.Number(literal), nil
}

// survives reports whether a double keeps the number. A fraction of up to 17
// digits does: that is how some peers write any double.
func survives(f float64, digits string, exponent int) bool {
	d, e := decimal(strconv.FormatFloat(f, 'e', -1, 64))
	fraction := exponent < len(digits)
	return d == digits && (e == exponent || d == "") || fraction && len(digits) <= 17
}

// decimal takes a JSON number apart: its value is 0.digits × 10^exponent, without
// the sign, and digits neither begins nor ends with 0.
func decimal(literal string) (digits string, exponent int) {
	mantissa, e, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(literal, "-")), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if e != "" {
		var err error
		if exponent, err = strconv.Atoi(e); err != nil || max(exponent, -exponent) > 1<<20 {
			exponent = 1 << 20
		}
	}
	digits = strings.TrimLeft(whole+fraction, "0")
	exponent += len(whole) - (len(whole+fraction) - len(digits))
	return strings.TrimRight(digits, "0"), exponent
}
