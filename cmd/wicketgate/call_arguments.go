package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// argument is one of the command line.
type argument struct{ name, value string }

func parseArguments(args []string) ([]argument, error) {
	var out []argument
	for _, a := range args {
		name, value, ok := strings.Cut(a, "=")
		switch {
		case !ok || name == "":
			return nil, fmt.Errorf("--arg %s: write NAME=VALUE, for example limit=3", shown(a))
		case slices.ContainsFunc(out, func(b argument) bool { return b.name == name }):
			return nil, fmt.Errorf("--arg %s is there twice", shown(name))
		}
		out = append(out, argument{name, value})
	}
	return out, nil
}

// typedArguments makes of each value what the tool's input schema wants. Where that
// allows a text, it is one.
func typedArguments(schema any, arguments []argument) (map[string]any, error) {
	out := map[string]any{}
	properties, _ := member(schema, "properties").(map[string]any)
	for _, a := range arguments {
		wanted := schemaTypes(properties[a.name])
		if len(wanted) == 0 || slices.Contains(wanted, "string") {
			out[a.name] = a.value
			continue
		}
		v := jsontext.Value(a.value)
		if !v.IsValid() || !slices.ContainsFunc(wanted, func(t string) bool { return strings.IndexByte(kinds[t], byte(v.Kind())) >= 0 }) {
			return nil, fmt.Errorf("--arg %s: the tool wants %s there, written as JSON", a.name, strings.Join(wanted, " or "))
		}
		out[a.name] = json.RawMessage(v)
	}
	return out, nil
}

// kinds are those of jsontext by the type in a JSON Schema. That a number is an integer,
// the server checks.
var kinds = map[string]string{"number": "0", "integer": "0", "boolean": "tf", "object": "{", "array": "[", "null": "n"}

func member(schema any, name string) any {
	m, _ := schema.(map[string]any)
	return m[name]
}

// schemaTypes are those that a schema allows, as far as it says so itself, or in its
// alternatives, as generators write optional ones.
func schemaTypes(schema any) []string {
	var out []string
	switch t := member(schema, "type").(type) {
	case string:
		return []string{t}
	case []any:
		for _, one := range t {
			if name, ok := one.(string); ok {
				out = append(out, name)
			}
		}
	}
	for _, word := range []string{"anyOf", "oneOf"} {
		alternatives, _ := member(schema, word).([]any)
		for _, one := range alternatives {
			out = append(out, schemaTypes(one)...)
		}
	}
	return out
}
