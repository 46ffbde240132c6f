package schema_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/schema"
)

// What a client reads, whatever the schema.
const (
	notJSON       = "the body is not one strict JSON value: valid UTF-8, no member named twice, nothing after it"
	tooMuch       = "the arguments are too large to be checked against the schema of this tool"
	uncheckable   = "the arguments cannot be checked against the schema of this tool"
	maxErrorBytes = 400
)

func mustCompileInput(t testing.TB, raw string) *schemaUnderTest {
	t.Helper()
	return mustCompile(t, raw, schema.CompileInput)
}

func mustCompileOutput(t testing.TB, raw string) *schemaUnderTest {
	t.Helper()
	return mustCompile(t, raw, schema.CompileOutput)
}

func mustCompile(t testing.TB, raw string, compile func(jsontext.Value) (*schema.Schema, error)) *schemaUnderTest {
	t.Helper()
	s, err := compile(jsontext.Value(raw))
	if err != nil {
		t.Fatalf("compile %s: %v", raw, err)
	}
	return &schemaUnderTest{t, s}
}

type schemaUnderTest struct {
	t testing.TB
	*schema.Schema
}

func (s *schemaUnderTest) accepts(arguments string) {
	s.t.Helper()
	if err := s.Check(jsontext.Value(arguments)); err != nil {
		s.t.Errorf("Check(%s) = %v, want nil", arguments, err)
	}
}

func (s *schemaUnderTest) refuses(arguments, want string) {
	s.t.Helper()
	err := s.Check(jsontext.Value(arguments))
	if err == nil {
		s.t.Errorf("Check(%s) = nil, want %q", arguments, want)
	} else if err.Error() != want {
		s.t.Errorf("Check(%s) =\n\t%v, want\n\t%s", arguments, err, want)
	}
}

const typicalSchema = `{"type":"object","properties":{
	"folder":{"type":"string","enum":["inbox","sent","drafts"]},
	"limit":{"type":"integer","minimum":1,"maximum":100},
	"query":{"type":"string","maxLength":200},
	"unread":{"type":"boolean"},
	"filters":{"type":"array","maxItems":10,"items":{"type":"object","properties":{
		"field":{"type":"string","enum":["from","to","subject"]},"op":{"type":"string"},"value":{"type":"string"}},
		"required":["field","value"]}}},
	"required":["folder"]}`

const typicalArguments = `{"folder":"inbox","limit":20,"query":"invoice","unread":true,"filters":[{"field":"from","op":"is","value":"alice@example.com"},{"field":"subject","op":"contains","value":"due"}]}`

func TestSchemaIsRefused(t *testing.T) {
	deep := strings.Repeat(`{"type":"object","properties":{"a":`, 40) + `{}` + strings.Repeat(`}}`, 40)
	for raw, want := range map[string]string{
		``:                                       `no inputSchema`,
		`null`:                                   `read schema: (root): is not a schema`,
		`[]`:                                     `read schema: (root): is not a schema`,
		`true`:                                   `read schema: the root is not {"type":"object"}`,
		`{}`:                                     `read schema: the root is not {"type":"object"}`,
		`{"type":"string"}`:                      `read schema: the root is not {"type":"object"}`,
		`{"type":["object","null"]}`:             `read schema: the root is not {"type":"object"}`,
		`{"type":"object","type":"string"}`:      `read schema: ` + notJSON,
		`{"type":"object","properties":[]}`:      `read schema: (root): properties is not an object`,
		`{"type":"object","allOf":{}}`:           `read schema: (root): allOf is not an array`,
		`{"type":"object","properties":{"a":1}}`: `read schema: /properties/a: is not a schema`,
		`{"type":"object","$ref":"#"}`:           `read schema: (root): refers to itself`,
		`{"type":"object","anyOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"not":{"$ref":"#"}}}}`: `read schema: (root): refers to itself`,
		`{"type":"object","$ref":"#/$defs/b"}`:                                                `read schema: (root): $ref: nothing at /$defs/b`,
		`{"type":"object","$ref":1}`:                                                          `read schema: (root): $ref is not a string`,
		`{"type":"object","$dynamicRef":"#a"}`:                                                `read schema: (root): $dynamicRef is not supported`,
		`{"type":"object","$schema":"http://json-schema.org/draft-04/schema#"}`:               `read schema: (root): $schema is neither draft-07, 2019-09 nor 2020-12`,
		`{"type":"object","minLength":18446744073709551616}`:                                  `read schema: (root): minLength is above 1048576`,
		`{"type":"object","minimum":1e999999999}`:                                             `read schema: /minimum: is too large, too small or too long a number`,
		`{"type":"object","contains":{"properties":{"a":{}}}}`:                                `close schema: /contains: contains names properties, and cannot be closed`,
		deep: `read schema: the body is nested deeper than 64`,
	} {
		_, err := schema.CompileInput(jsontext.Value(raw))
		if err == nil || err.Error() != want {
			t.Errorf("CompileInput(%.200s) =\n\t%v, want\n\t%s", raw, err, want)
		}
	}
	for _, raw := range []string{
		`{"type":"object","required":"a"}`,
		`{"type":"object","properties":{"a":{"type":"nonsense"}}}`,
		`{"type":"object","properties":{"a":{"pattern":"("}}}`,
		`{"type":"object","properties":{"a":{"pattern":"a(?=b)"}}}`,
		`{"type":"object","properties":{"a":{"minimum":"1"}}}`,
		`{"type":"object","properties":{"a":{"exclusiveMaximum":true}}}`,
		`{"type":"object","description":"` + strings.Repeat("x", 256<<10) + `"}`,
		`{"type":"object","allOf":[` + strings.Repeat(`{},`, 2048) + `{}]}`,
	} {
		if _, err := schema.CompileInput(jsontext.Value(raw)); err == nil {
			t.Errorf("CompileInput(%.200s) = nil error", raw)
		}
	}
}

// One schema serves many calls at a time, and none sees another's arguments.
func TestSchemaChecksConcurrently(t *testing.T) {
	s := mustCompileInput(t, typicalSchema)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				s.accepts(typicalArguments)
				s.refuses(fmt.Sprintf(`{"folder":"inbox","x%d":1}`, i), fmt.Sprintf("/x%d: is not a parameter of this tool", i))
			}
		})
	}
	wg.Wait()
}

func TestZeroSchemaRefusesEverything(t *testing.T) {
	for _, s := range []*schema.Schema{nil, {}} {
		if err := s.Check(jsontext.Value(`{}`)); err == nil || err.Error() != uncheckable {
			t.Errorf("Check = %v", err)
		}
	}
}

func BenchmarkSchemaCheck(b *testing.B) {
	for name, c := range map[string][2]string{
		"typical": {typicalSchema, typicalArguments},
		"refs":    {`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"},"b":{"allOf":[{"$ref":"#/$defs/A"},{"properties":{"y":{}}}]}},"$defs":{"A":{"type":"object","properties":{"x":{"type":"string"}}}}}`, `{"a":{"x":"1"},"b":{"x":"2","y":3}}`},
	} {
		s := mustCompileInput(b, c[0])
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Check(jsontext.Value(c[1])); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSchemaCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schema.CompileInput(jsontext.Value(typicalSchema)); err != nil {
			b.Fatal(err)
		}
	}
}

func TestOpenInputTakesWhatItDoesNotNameAndNothingElse(t *testing.T) {
	s, err := schema.CompileOpenInput(jsontext.Value(`{"type":"object","properties":{"n":{"type":"integer","maximum":3}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for arguments, good := range map[string]bool{`{"n":1,"more":{"x":1}}`: true, `{"n":4}`: false, `{"n":"1"}`: false} {
		if err := s.Check(jsontext.Value(arguments)); (err == nil) != good {
			t.Errorf("%s: %v, want good %v", arguments, err, good)
		}
	}
	if _, err := schema.CompileOpenInput(jsontext.Value(`{"type":17}`)); err == nil {
		t.Error("a broken schema was compiled")
	}
}
