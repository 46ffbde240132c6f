package schema

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// wrong words what one assertion found: what is wanted, and never the value that is there,
// which may be a secret and would come into logs.
func wrong(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		var want []string
		for _, t := range k.Want {
			want = append(want, article(t))
		}
		return "must be " + strings.Join(want, " or ") + ", is " + article(k.Got)
	case *kind.Enum:
		return "must be one of " + clip(list(k.Want), 120)
	case *kind.Const:
		return "must be " + quoted(k.Want)
	case *kind.Minimum:
		return "must be at least " + plainNumber(k.Want)
	case *kind.Maximum:
		return "must be at most " + plainNumber(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + plainNumber(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + plainNumber(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + plainNumber(k.Want)
	case *kind.Pattern:
		return "must match " + clip(k.Want, 120)
	case *kind.UniqueItems:
		return fmt.Sprintf("must not repeat an item: %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.Contains:
		return "must contain an item of a certain form"
	}
	return wrongCount(k)
}

func wrongCount(k jsonschema.ErrorKind) string {
	least, most := "must have at least %d %s, has %d", "must have at most %d %s, has %d"
	switch k := k.(type) {
	case *kind.MinLength:
		return fmt.Sprintf(least, k.Want, "characters", k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf(most, k.Want, "characters", k.Got)
	case *kind.MinItems:
		return fmt.Sprintf(least, k.Want, "items", k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf(most, k.Want, "items", k.Got)
	case *kind.MinProperties:
		return fmt.Sprintf(least, k.Want, "members", k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf(most, k.Want, "members", k.Got)
	case *kind.MinContains:
		return fmt.Sprintf(least, k.Want, "items of a certain form", len(k.Got))
	case *kind.MaxContains:
		return fmt.Sprintf(most, k.Want, "items of a certain form", len(k.Got))
	}
	return "is not what the schema of this tool allows"
}

func article(jsonType string) string {
	switch jsonType {
	case "null":
		return "null"
	case "integer", "array", "object":
		return "an " + jsonType
	}
	return "a " + jsonType
}

func list(values []any) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > 120 {
			break
		}
		b.WriteString(quoted(v))
	}
	return b.String()
}

// quoted shows a scalar as JSON does, and of the others the type.
func quoted(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return `"` + clip(printable(v), 40) + `"`
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	}
	return clip(fmt.Sprint(v), 40)
}

func plainNumber(r *big.Rat) string {
	digits, exact := r.FloatPrec()
	if text := r.FloatString(digits); exact && len(text) <= 40 {
		return text
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// where shows a JSON pointer to a person.
func where(at jsontext.Pointer) string {
	if at == "" {
		return "(root)"
	}
	return clip(printable(string(at)), 120)
}

// printable keeps control characters and the like out of terminals and logs.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, s)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
