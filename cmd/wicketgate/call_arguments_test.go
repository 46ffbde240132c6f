package main

import (
	"encoding/json"
	"net/url"
	"testing"
)

// TestArgumentIsWhatTheToolWants: a text where the schema allows one or says nothing, and
// else JSON of the type that it names.
func TestArgumentIsWhatTheToolWants(t *testing.T) {
	for name, tt := range map[string]struct{ property, value, want, problem string }{
		"text":                    {`{"type":"string"}`, `3`, `"3"`, ""},
		"no type":                 {`{"enum":["a"]}`, `3`, `"3"`, ""},
		"anything":                {`true`, `3`, `"3"`, ""},
		"text or number":          {`{"type":["integer","string"]}`, `3`, `"3"`, ""},
		"integer":                 {`{"type":"integer"}`, `3`, `3`, ""},
		"big integer":             {`{"type":"integer"}`, `9007199254740993`, `9007199254740993`, ""},
		"number":                  {`{"type":"number"}`, `-1.5e3`, `-1.5e3`, ""},
		"number, a word":          {`{"type":"number"}`, `three`, ``, "--arg x: the tool wants number there, written as JSON"},
		"number, nothing":         {`{"type":"number"}`, ``, ``, "--arg x: the tool wants number there, written as JSON"},
		"number, two":             {`{"type":"number"}`, `1 2`, ``, "--arg x: the tool wants number there, written as JSON"},
		"number, in quotes":       {`{"type":"number"}`, `"3"`, ``, "--arg x: the tool wants number there, written as JSON"},
		"boolean":                 {`{"type":"boolean"}`, `true`, `true`, ""},
		"boolean, yes":            {`{"type":"boolean"}`, `yes`, ``, "--arg x: the tool wants boolean there, written as JSON"},
		"array":                   {`{"type":"array"}`, `["a",1]`, `["a",1]`, ""},
		"array, a list":           {`{"type":"array"}`, `a,b`, ``, "--arg x: the tool wants array there, written as JSON"},
		"object":                  {`{"type":"object"}`, `{"a":[]}`, `{"a":[]}`, ""},
		"object, a member twice":  {`{"type":"object"}`, `{"a":1,"a":2}`, ``, "--arg x: the tool wants object there, written as JSON"},
		"optional":                {`{"anyOf":[{"type":"integer"},{"type":"null"}]}`, `3`, `3`, ""},
		"optional, none":          {`{"anyOf":[{"type":"integer"},{"type":"null"}]}`, `null`, `null`, ""},
		"optional, a word":        {`{"type":["integer","null"]}`, `x`, ``, "--arg x: the tool wants integer or null there, written as JSON"},
		"optional text":           {`{"oneOf":[{"type":"string"},{"type":"null"}]}`, `null`, `"null"`, ""},
		"a schema that is no one": {`[1]`, `3`, `"3"`, ""},
		"a type that is no one":   {`{"type":[1,"widget"]}`, `3`, ``, "--arg x: the tool wants widget there, written as JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			var schema any
			if err := json.Unmarshal([]byte(`{"type":"object","properties":{"x":`+tt.property+`}}`), &schema); err != nil {
				t.Fatal(err)
			}
			got, err := typedArguments(schema, []argument{{"x", tt.value}})
			if err != nil {
				if err.Error() != tt.problem {
					t.Errorf("%v, want %q", err, tt.problem)
				}
				return
			}
			if b, err := json.Marshal(got); err != nil || string(b) != `{"x":`+tt.want+`}` || tt.problem != "" {
				t.Errorf("%s, %v, want %s%s", b, err, tt.want, tt.problem)
			}
		})
	}
	if got, err := typedArguments(nil, []argument{{"x", "3"}}); err != nil || got["x"] != "3" {
		t.Errorf("without a schema: %v, %v", got, err)
	}
}

func TestMetadataIsAtThePathBefore(t *testing.T) {
	for of, want := range map[string]string{
		"https://a.example":               "https://a.example/.well-known/x",
		"https://a.example/":              "https://a.example/.well-known/x",
		"https://a.example:8443/mcp/mail": "https://a.example:8443/.well-known/x/mcp/mail",
		"https://a.example/a%2Fb/":        "https://a.example/.well-known/x/a%2Fb/",
		"https://a.example/mcp?t=1":       "https://a.example/.well-known/x/mcp?t=1",
	} {
		u, err := url.Parse(of)
		if err != nil {
			t.Fatal(err)
		}
		if got := wellKnown(u, "x"); got != want {
			t.Errorf("%s: %s, want %s", of, got, want)
		}
	}
}
