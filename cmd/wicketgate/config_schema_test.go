package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write config.schema.json anew from the structs in config.go")

// TestSchemaIsTheStruct holds the published schema equal to what the reader
// enforces: keys, types, bounds, defaults, and the comments.
func TestSchemaIsTheStruct(t *testing.T) {
	g := schemaMaker{comments(t)}
	s := g.object(reflect.TypeFor[Config]())
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", "wicketgate.yaml"
	want, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("config.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(configSchema, want) {
		t.Error("config.schema.json is not what config.go says: go test ./cmd/wicketgate -run TestSchemaIsTheStruct -update")
	}
}

// schema is the part of JSON Schema that we use.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        string             `json:"type"`
	Required    []string           `json:"required,omitempty"`
	Additional  *bool              `json:"additionalProperties,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	MinLength   int                `json:"minLength,omitempty"`
	Default     any                `json:"default,omitempty"`
}

type schemaMaker struct{ comments map[string]string }

func (g schemaMaker) object(t reflect.Type) *schema {
	s := &schema{Type: "object", Additional: new(bool), Properties: map[string]*schema{}}
	for _, f := range fieldsOf(t) {
		field := t.Field(f.index)
		p := g.value(field.Type, f.tag)
		p.Description = g.comments[t.Name()+"."+field.Name]
		if bounds := f.tag.Get("max"); bounds != "" && p.Type == "string" {
			p.Description += " From " + f.tag.Get("min") + " to " + bounds + "."
		}
		if f.tag.Get("required") != "" {
			s.Required = append(s.Required, f.name)
		}
		s.Properties[f.name] = p
	}
	return s
}

func (g schemaMaker) value(t reflect.Type, tag reflect.StructTag) *schema {
	def := tag.Get("default")
	switch {
	case t.Kind() == reflect.Pointer:
		return g.value(t.Elem(), tag)
	case t.Kind() == reflect.Struct:
		return g.object(t)
	case t.Kind() == reflect.Slice:
		s := &schema{Type: "array", Items: g.value(t.Elem(), "")}
		if def != "" {
			s.Default = strings.Split(def, ",")
		}
		return s
	case t == reflect.TypeFor[duration]():
		return &schema{Type: "string", Pattern: durationForm.String(), Default: def}
	case t.Kind() == reflect.Bool:
		return &schema{Type: "boolean", Default: def == "true"}
	case t.Kind() == reflect.Int:
		low, high := atoi(tag.Get("min")), atoi(tag.Get("max"))
		return &schema{Type: "integer", Minimum: &low, Maximum: &high, Default: atoi(def)}
	}
	s := &schema{Type: "string", Pattern: tag.Get("pattern"), MinLength: 1}
	if enum := tag.Get("enum"); enum != "" {
		s.Enum, s.MinLength = strings.Split(enum, ","), 0
	}
	if def != "" {
		s.Default = def
	}
	return s
}

// comments reads the comment of each field: "Config.Issuer" to text.
func comments(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"config.go", "config_console.go", "config_limits.go", "config_policy.go", "config_servers.go", "config_spiffe.go", "config_trust.go", "config_vault.go", "config_vault_servers.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		commentsOf(t, file, out)
	}
	return out
}

func commentsOf(t *testing.T, file *ast.File, out map[string]string) {
	t.Helper()
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if st, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range st.Fields.List {
				name := spec.Name.Name + "." + f.Names[0].Name
				out[name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				if out[name] == "" {
					t.Errorf("%s has no comment: say unit, default and danger", name)
				}
			}
		}
		return false
	})
}

// TestEveryFieldHasAKey keeps the reader from meeting a field that it cannot name.
func TestEveryFieldHasAKey(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(ty reflect.Type) {
		switch ty.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(ty.Elem())
		case reflect.Struct:
			for _, f := range fieldsOf(ty) {
				if f.name == "" {
					t.Errorf("%s.%s has no yaml tag", ty, ty.Field(f.index).Name)
				}
				walk(ty.Field(f.index).Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}
