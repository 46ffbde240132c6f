package schema_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/schema"
)

// hostileSchemas cost an unbounded validator minutes, each in its own way.
func hostileSchemas() map[string]string {
	var doubling, chain, names strings.Builder
	for i := range 60 {
		fmt.Fprintf(&doubling, `"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	for i := range 1500 {
		fmt.Fprintf(&chain, `"d%d":{"$ref":"#/$defs/d%d"},`, i, i+1)
		fmt.Fprintf(&names, `"n%d":{"$ref":"#"},`, i)
	}
	return map[string]string{
		"doubling refs":            `{"type":"object","properties":{"a":{"$ref":"#/$defs/d0"}},"$defs":{` + doubling.String() + `"d60":{}}}`,
		"doubling before any type": `{"$ref":"#/$defs/d0","$defs":{` + doubling.String() + `"d60":{}}}`,
		"doubling by depth":        `{"type":"object","properties":{"a":{"$ref":"#/$defs/t"}},"$defs":{"t":{"allOf":[{"properties":{"a":{"$ref":"#/$defs/t"}}},{"properties":{"a":{"$ref":"#/$defs/t"}}}]}}}`,
		"chain of refs":            `{"type":"object","properties":{"a":{"$ref":"#/$defs/d0"}},"$defs":{` + chain.String() + `"d1500":{"properties":{"b":{}}}}}`,
		"many names":               `{"type":"object","properties":{` + names.String() + `"a":{"$ref":"#"}}}`,
		"many allOf":               `{"type":"object","allOf":[` + strings.Repeat(`{"properties":{"a":{}}},`, 1000) + `{}]}`,
		"nested oneOf":             `{"type":"object","properties":{"a":` + strings.Repeat(`{"oneOf":[`, 25) + `{"properties":{"b":{"properties":{"c":{}}}}}` + strings.Repeat(`]}`, 25) + `}}`,
		"large program":            `{"type":"object","properties":{"a":{"pattern":"(` + strings.Repeat("ab", 100) + `){1000}"}}}`,
		"many programs":            `{"type":"object","patternProperties":{` + manyPatterns(200) + `}}`,
		"slow program":             `{"type":"object","properties":{"a":{"pattern":"(x+x+)+y.{900}"}}}`,
		"long enum":                `{"type":"object","additionalProperties":{"items":{"enum":[` + strings.Repeat(`"xxxxxxxxxx",`, 15000) + `1]}}}`,
		"unevaluated of many":      `{"type":"object","additionalProperties":{"anyOf":[` + strings.Repeat(`{"patternProperties":{"":{}}},`, 500) + `{}]}}`,
	}
}

func manyPatterns(n int) string {
	var b []string
	for i := range n {
		b = append(b, strconv.Quote(fmt.Sprintf("^a{400}b{400}%d", i))+":{}")
	}
	return strings.Join(b, ",")
}

// A28.
func TestHostileSchemaIsBounded(t *testing.T) {
	const limit = 10 * time.Second // generous, for the race detector: unbounded, each takes longer
	nested := strings.Repeat(`{"a":`, 60) + `1` + strings.Repeat(`}`, 60)
	wide := `{"a":[` + strings.Repeat(`{"b":"x"},`, 20000) + `{}]}`
	long := `{"a":"` + strings.Repeat("x", 1<<20) + `"}`
	for name, raw := range hostileSchemas() {
		start := time.Now()
		s, err := schema.CompileInput(jsontext.Value(raw))
		compiled := time.Since(start)
		t.Logf("%s: compiled in %v: %v", name, compiled, err)
		for _, arguments := range []string{nested, wide, long} {
			if err != nil {
				break
			}
			start := time.Now()
			err := s.Check(jsontext.Value(arguments))
			if d := time.Since(start); d > limit {
				t.Errorf("%s: check took %v", name, d)
			} else {
				t.Logf("%s: checked in %v: %.80v", name, d, err)
			}
		}
		if compiled > limit {
			t.Errorf("%s: compiled in %v", name, compiled)
		}
	}
}

func TestSchemaThatMultipliesIsRefused(t *testing.T) {
	if _, err := schema.CompileInput(jsontext.Value(hostileSchemas()["doubling refs"])); err == nil || err.Error() != "compile schema: the schema applies too many subschemas to one value" {
		t.Errorf("doubling refs: %v", err)
	}
	for _, name := range []string{"large program", "many programs"} {
		if _, err := schema.CompileInput(jsontext.Value(hostileSchemas()[name])); err == nil || !strings.Contains(err.Error(), "regular expression") {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustCompileInput(t, hostileSchemas()["slow program"]).refuses(`{"a":"`+strings.Repeat("x", 1<<20)+`"}`, tooMuch)
}

func TestDepthThatDoublesIsRefused(t *testing.T) {
	s := mustCompileInput(t, hostileSchemas()["doubling by depth"])
	s.accepts(strings.Repeat(`{"a":`, 10) + `{}` + strings.Repeat(`}`, 10))
	s.refuses(strings.Repeat(`{"a":`, 40)+`{}`+strings.Repeat(`}`, 40), tooMuch)
}

// Recursion that real tools have (a filter, any JSON) must stay usable.
func TestRecursiveSchemasOfRealToolsWork(t *testing.T) {
	filter := `{"type":"object","properties":{"where":{"$ref":"#/$defs/f"}},"$defs":{"f":{"anyOf":[
		{"type":"object","properties":{"and":{"type":"array","items":{"$ref":"#/$defs/f"}}},"required":["and"]},
		{"type":"object","properties":{"not":{"$ref":"#/$defs/f"}},"required":["not"]},
		{"type":"object","properties":{"field":{"type":"string"},"eq":{}},"required":["field","eq"]}]}}}`
	s := mustCompileInput(t, filter)
	s.accepts(`{"where":` + strings.Repeat(`{"not":`, 50) + `{"field":"a","eq":1}` + strings.Repeat(`}`, 50) + `}`)
	s.accepts(`{"where":{"and":[` + strings.Repeat(`{"field":"a","eq":{"x":1}},`, 5000) + `{"field":"b","eq":2}]}}`)
	anyJSON := `{"type":"object","properties":{"v":{"$ref":"#/$defs/j"}},"$defs":{"j":{"anyOf":[{"type":["string","number","boolean","null"]},{"type":"array","items":{"$ref":"#/$defs/j"}},{"type":"object","additionalProperties":{"$ref":"#/$defs/j"}}]}}}`
	mustCompileInput(t, anyJSON).accepts(`{"v":` + strings.Repeat(`[{"a":`, 30) + `1` + strings.Repeat(`}]`, 30) + `}`)
	large := mustCompileInput(t, `{"type":"object","properties":{"content":{"type":"string"},"mode":{"type":"string","pattern":"^[a-z]{1,20}$"}}}`)
	large.accepts(`{"mode":"append","content":"` + strings.Repeat("x", 1<<20) + `"}`)
}
