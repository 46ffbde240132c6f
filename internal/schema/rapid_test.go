package schema_test

import (
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/internal/schema"
)

// TestClosedAcceptsOnlyWhatTheSchemaAccepts draws schemas and arguments: whatever
// the closed schema accepts, the schema as written does.
func TestClosedAcceptsOnlyWhatTheSchemaAccepts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw, err := json.Marshal(map[string]any{
			"type": "object", "allOf": []any{drawSchema(t, 3)},
			"$defs": map[string]any{"a": drawSchema(t, 2), "b": map[string]any{"properties": map[string]any{"a": map[string]any{"$ref": "#/$defs/b"}, "b": map[string]any{"$ref": "#/$defs/a"}}}},
		}, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		closed, err := schema.CompileInput(raw)
		if err != nil {
			t.Skip(err)
		}
		written, err := schema.CompileOutput(raw)
		if err != nil {
			t.Fatalf("CompileOutput(%s) = %v, and CompileInput compiles it", raw, err)
		}
		for range 20 {
			v, err := json.Marshal(drawValue(t, 3), json.Deterministic(true))
			if err != nil {
				t.Fatal(err)
			}
			if closed.Check(v) == nil && written.Check(v) != nil {
				t.Fatalf("closed %s accepts %s: %v", raw, v, written.Check(v))
			}
		}
	})
}

func drawSchema(t *rapid.T, depth int) any {
	kinds := []string{"true", "false", "object", "int", "required"}
	if depth > 0 {
		kinds = append(kinds, "properties", "properties", "properties", "allOf", "anyOf", "oneOf", "not", "if", "ref", "items", "additional", "dependent")
	}
	sub := func() any { return drawSchema(t, depth-1) }
	name := func() string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name") }
	switch k := rapid.SampledFrom(kinds).Draw(t, "keyword"); k {
	case "true", "false":
		return k == "true"
	case "object":
		return map[string]any{"type": "object"}
	case "int":
		return map[string]any{"type": "integer"}
	case "required":
		return map[string]any{"required": []string{name()}}
	case "properties":
		return map[string]any{"properties": map[string]any{name(): sub(), "d": sub()}}
	case "allOf", "anyOf", "oneOf":
		return map[string]any{k: []any{sub(), sub()}}
	case "not", "items":
		return map[string]any{k: sub()}
	case "if":
		return map[string]any{"if": sub(), "then": sub(), "else": sub()}
	case "additional":
		return map[string]any{"properties": map[string]any{name(): sub()}, "additionalProperties": sub()}
	case "dependent":
		return map[string]any{"dependentSchemas": map[string]any{name(): sub()}}
	}
	return map[string]any{"$ref": rapid.SampledFrom([]string{"#/$defs/a", "#/$defs/b"}).Draw(t, "ref")}
}

func drawValue(t *rapid.T, depth int) any {
	if depth == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom([]any{1, "s", nil, []any{}, map[string]any{}}).Draw(t, "scalar")
	}
	m := map[string]any{}
	for _, name := range []string{"a", "b", "c", "d"} {
		if rapid.Bool().Draw(t, name) {
			m[name] = drawValue(t, depth-1)
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "array") == 0 {
		return []any{m}
	}
	return m
}
