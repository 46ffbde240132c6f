package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

func TestSchemaErrorsSayWhereAndWhat(t *testing.T) {
	for _, c := range []struct{ raw, arguments, want string }{
		{typicalSchema, typicalArguments, ""},
		{typicalSchema, `{}`, `/folder: is missing`},
		{typicalSchema, `{"folder":"inbox","limit":10000}`, `/limit: must be at most 100`},
		{typicalSchema, `{"folder":"inbox","limit":1e4}`, `/limit: must be at most 100`},
		{typicalSchema, `{"folder":"inbox","limit":0}`, `/limit: must be at least 1`},
		{typicalSchema, `{"folder":"inbox","limit":1.5}`, `/limit: must be an integer, is a number`},
		{typicalSchema, `{"folder":"inbox","limit":"20"}`, `/limit: must be an integer, is a string`},
		{typicalSchema, `{"folder":"spam"}`, `/folder: must be one of "inbox", "sent", "drafts"`},
		{typicalSchema, `{"folder":"inbox","x":1}`, `/x: is not a parameter of this tool`},
		{typicalSchema, `{"folder":"inbox","query":"` + strings.Repeat("q", 201) + `"}`, `/query: must have at most 200 characters, has 201`},
		{typicalSchema, `{"folder":"inbox","filters":[{"field":"from","value":""},{"value":1,"a/b~":2}]}`, `/filters/1/a~1b~0: is not a parameter of this tool; /filters/1/field: is missing; /filters/1/value: must be a string, is a number`},
		{typicalSchema, `{"folder":"inbox","a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}`, `/a: is not a parameter of this tool; /b: is not a parameter of this tool; /c: is not a parameter of this tool; /d: is not a parameter of this tool; /e: is not a parameter of this tool; and 2 more`},
		{typicalSchema, `[]`, `(root): must be an object, is an array`},
		{typicalSchema, ``, notJSON},
		{typicalSchema, `{"folder":"inbox"} {}`, notJSON},
		{typicalSchema, `{"folder":"inbox","folder":"sent"}`, notJSON},
		{typicalSchema, `{"folder":"inbox","\u001b[2J":1}`, `/�[2J: is not a parameter of this tool`},

		{`{"type":"object","properties":{"a":{"anyOf":[{"type":"integer","minimum":3},{"type":"null"}]}}}`, `{"a":1}`, `/a: must be at least 3`},
		{`{"type":"object","properties":{"a":{"anyOf":[{"type":"integer"},{"type":"boolean"}]}}}`, `{"a":"x"}`, `/a: fits none of the forms that it may have`},
		{`{"type":"object","properties":{"a":{"oneOf":[{"type":"integer"},{"minimum":3}]}}}`, `{"a":4}`, `/a: fits more than one of the forms of which it must fit one`},
		{`{"type":"object","oneOf":[{"properties":{"kind":{"const":"a"},"n":{"type":"integer"}}},{"properties":{"kind":{"const":"b"},"s":{"type":"string"}}}]}`, `{"kind":"a","n":"x"}`, `/n: must be an integer, is a string`},
		{`{"type":"object","allOf":[{"properties":{"a":{"type":"integer"}}}]}`, `{"a":"x"}`, `/a: must be an integer, is a string`},
		{`{"type":"object","properties":{"a":{"not":{"const":1}}}}`, `{"a":1}`, `/a: is not what the schema of this tool allows`},
		{`{"type":"object","properties":{"a":{"const":[1]}}}`, `{"a":1}`, `/a: must be an array`},
		{`{"type":"object","properties":{"a":{"multipleOf":0.01}}}`, `{"a":4.35}`, ``},
		{`{"type":"object","properties":{"a":{"multipleOf":0.01}}}`, `{"a":4.355}`, `/a: must be a multiple of 0.01`},
		{`{"type":"object","properties":{"a":{"exclusiveMinimum":0}}}`, `{"a":0}`, `/a: must be more than 0`},
		{`{"type":"object","properties":{"a":{"pattern":"^a+$"}}}`, `{"a":"b"}`, `/a: must match ^a+$`},
		{`{"type":"object","properties":{"a":{"uniqueItems":true,"minItems":1}}}`, `{"a":[1,2,1.0]}`, `/a: must not repeat an item: 0 and 2 are equal`},
		{`{"type":"object","properties":{"a":{},"b":{}},"dependentRequired":{"a":["b"]}}`, `{"a":1}`, `/b: is missing beside "a"`},
		{`{"type":"object","additionalProperties":{"type":"string"},"propertyNames":{"pattern":"^[a-z]+$"}}`, `{"A":"x"}`, `/A: is not an allowed name`},
	} {
		s := mustCompileInput(t, c.raw)
		if c.want == "" {
			s.accepts(c.arguments)
		} else {
			s.refuses(c.arguments, c.want)
		}
	}
}

// What is refused may be a password in the wrong field: the error goes to the client's
// model, to the log of the client and to ours.
func TestSchemaErrorsNeverEchoTheValue(t *testing.T) {
	const secret = "8812734655"
	for _, of := range []string{`"enum":["a"]`, `"const":"a"`, `"pattern":"^a$"`, `"maxLength":1`, `"type":"boolean"`, `"not":{}`, `"anyOf":[{"const":"a"},{"const":"b"}]`,
		`"const":1`, `"enum":[1,2]`, `"maximum":1`, `"minimum":9e99`, `"exclusiveMaximum":1`, `"exclusiveMinimum":9e99`, `"multipleOf":7`} {
		s := mustCompileInput(t, `{"type":"object","properties":{"a":{`+of+`}}}`)
		for _, value := range []string{secret, `"` + secret + `"`, `["` + secret + `"]`, `{"x":` + secret + `}`} {
			if err := s.Check(jsontext.Value(`{"a":` + value + `}`)); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s of %s: %v", of, value, err)
			}
		}
	}
}

func TestSchemaErrorsAreShort(t *testing.T) {
	s := mustCompileInput(t, `{"type":"object"}`)
	var arguments strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&arguments, `,"%s%d":1`, strings.Repeat("é", 100), i)
	}
	first := ""
	for range 3 {
		err := s.Check(jsontext.Value("{" + arguments.String()[1:] + "}"))
		if err == nil || len(err.Error()) > maxErrorBytes {
			t.Fatalf("Check = %v", err)
		}
		if first == "" {
			first = err.Error()
		} else if diff := cmp.Diff(first, err.Error()); diff != "" {
			t.Errorf("two errors for the same arguments: %s", diff)
		}
	}
}
