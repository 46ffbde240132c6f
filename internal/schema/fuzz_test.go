package schema_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/schema"
)

func FuzzCompileInput(f *testing.F) {
	for _, s := range hostileSchemas() {
		f.Add(s, `{"a":{"a":[{"b":1}]}}`)
	}
	for _, s := range []string{
		typicalSchema, ``, `{}`, `true`, `{"type":"object","$ref":"#"}`, `{"type":"object","properties":{"a":{"$ref":"#/properties/a"}}}`,
		`{"type":"object","$id":"http://x/","properties":{"a":{"$id":"#b","$ref":"#b"}}}`,
		`{"type":"object","properties":{"a":{"$ref":"#/properties/a%25/~1~0"}}}`,
		`{"type":"object","if":{"properties":{"a":{}}},"then":false,"else":{"$ref":"#/if"}}`,
		`{"type":"object","dependencies":{"a":["b"],"c":{"properties":{"a":{}}}}}`,
		`{"type":"object","properties":{"a":{"items":[{},{"properties":{"b":{}}}],"additionalItems":false}}}`,
		`{"type":"object","unevaluatedProperties":{"$ref":"#/$defs/a"},"$defs":{"a":{"prefixItems":[{"$anchor":"x"}],"unevaluatedItems":{"$ref":"#x"}}}}`,
		`{"type":"object","properties":{"a":{"pattern":"^(?=[\\]])(?!a)b{1,1000}"}},"patternProperties":{"^(a|b)*$":{"const":1e-5}}}`,
		`{"type":"object","properties":{"a":{"multipleOf":0,"minimum":-1e308,"maxLength":1.0}}}`,
	} {
		f.Add(s, typicalArguments)
		f.Add(s, `{"a":{"b":[1,2.5,1e20,"x",null]},"p":{}}`)
	}
	f.Fuzz(func(t *testing.T, raw, arguments string) {
		start := time.Now()
		s, err := schema.CompileInput(jsontext.Value(raw))
		if err == nil {
			accepted := s.Check(jsontext.Value(arguments))
			if accepted == nil {
				written, err := schema.CompileOutput(jsontext.Value(raw))
				if err != nil {
					t.Fatalf("CompileOutput = %v", err)
				}
				if err := written.Check(jsontext.Value(arguments)); err != nil {
					t.Fatalf("closed accepts what the schema refuses: %v", err)
				}
			} else if accepted.Error() == uncheckable || len(accepted.Error()) > maxErrorBytes {
				t.Fatalf("Check = %v", accepted)
			}
		} else if strings.Contains(err.Error(), "runtime error") {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Fatalf("took %v", d)
		}
	})
}
