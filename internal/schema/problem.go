package schema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

const unknownText = "is not a parameter of this tool"

// problem is one thing that is wrong with a value.
type problem struct {
	at      jsontext.Pointer
	text    string
	unknown bool // by unevaluatedProperties, which also names what failed elsewhere
}

// explain words what the library found.
func explain(e *jsonschema.ValidationError) error {
	known := problems(nil, e)
	spoiled := map[jsontext.Pointer]bool{}
	for _, p := range known {
		for at := p.at; !p.unknown && !spoiled[at]; at = at.Parent() {
			spoiled[at] = true // and all that hold it
		}
	}
	known = slices.DeleteFunc(known, func(p problem) bool { return p.unknown && spoiled[p.at.Parent()] })
	slices.SortFunc(known, func(a, b problem) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.text, b.text)) })
	known = slices.Compact(known)
	var b strings.Builder
	for i, p := range known {
		text := where(p.at) + ": " + p.text
		if i == maxProblems || i > 0 && b.Len()+len(text) > maxErrorText-len("; and 1234567 more") {
			fmt.Fprintf(&b, "; and %d more", len(known)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(text)
	}
	return errors.New(clip(b.String(), maxErrorText))
}

func problems(ps []problem, e *jsonschema.ValidationError) []problem {
	at := pointer(e.InstanceLocation)
	members := func(names []string, text string) []problem {
		for _, name := range names {
			ps = append(ps, problem{at: at.AppendToken(name), text: text})
		}
		return ps
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
		for _, cause := range e.Causes {
			ps = problems(ps, cause)
		}
		return ps
	case *kind.AnyOf:
		return alternatives(ps, e)
	case *kind.OneOf:
		if len(k.Subschemas) == 0 {
			return alternatives(ps, e)
		}
		return append(ps, problem{at: at, text: "fits more than one of the forms of which it must fit one"})
	case *kind.FalseSchema:
		if strings.HasSuffix(e.SchemaURL, "/unevaluatedProperties") {
			return append(ps, problem{at: at, text: unknownText, unknown: true})
		}
		return append(ps, problem{at: at, text: "is not allowed"})
	case *kind.AdditionalProperties:
		return members(k.Properties, unknownText)
	case *kind.Required:
		return members(k.Missing, "is missing")
	case *kind.DependentRequired:
		return members(k.Missing, "is missing beside "+quoted(k.Prop))
	case *kind.PropertyNames:
		return members([]string{k.Property}, "is not an allowed name")
	}
	return append(ps, problem{at: at, text: wrong(e.ErrorKind)})
}

// alternatives words a value that fits none of several forms: if all but one are
// out of the question, what that one says.
func alternatives(ps []problem, e *jsonschema.ValidationError) []problem {
	var meant []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		if !outOfTheQuestion(cause, len(e.InstanceLocation)) {
			meant = append(meant, cause)
		}
	}
	if len(meant) == 1 {
		return problems(ps, meant[0])
	}
	return append(ps, problem{at: pointer(e.InstanceLocation), text: "fits none of the forms that it may have"})
}

// outOfTheQuestion: another type, or another value of what tells the forms apart.
func outOfTheQuestion(e *jsonschema.ValidationError, depth int) bool {
	switch e.ErrorKind.(type) {
	case *kind.Type:
		return len(e.InstanceLocation) == depth
	case *kind.Const:
		return len(e.InstanceLocation) <= depth+1
	case *kind.Group, *kind.Reference, *kind.AllOf:
		return slices.ContainsFunc(e.Causes, func(cause *jsonschema.ValidationError) bool { return outOfTheQuestion(cause, depth) })
	}
	return false
}

func pointer(tokens []string) (at jsontext.Pointer) {
	for _, t := range tokens {
		at = at.AppendToken(t)
	}
	return at
}
