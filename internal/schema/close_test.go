package schema_test

import (
	"testing"
)

// A28: Where a schema names parameters, no other gets through, however it names them.
func TestUnknownParameterIsRefused(t *testing.T) {
	const unknown = ": is not a parameter of this tool"
	for name, c := range map[string]struct{ raw, ok, bad, at string }{
		"AtTheRoot":             {`{"type":"object","properties":{"a":{}}}`, `{"a":1}`, `{"a":1,"x":1}`, "/x"},
		"ByARootThatNamesNone":  {`{"type":"object"}`, `{}`, `{"x":1}`, "/x"},
		"ByARootRefToNone":      {`{"type":"object","$ref":"#/$defs/a","$defs":{"a":{"type":"object"}}}`, `{}`, `{"x":1}`, "/x"},
		"InANestedObject":       {`{"type":"object","properties":{"a":{"properties":{"b":{}}}}}`, `{"a":{"b":1}}`, `{"a":{"b":1,"x":1}}`, "/a/x"},
		"InNestedArrayItems":    {`{"type":"object","properties":{"a":{"items":{"items":{"properties":{"b":{}}}}}}}`, `{"a":[[{"b":1}]]}`, `{"a":[[{"b":1},{"x":1}]]}`, "/a/0/1/x"},
		"InPrefixItems":         {`{"type":"object","properties":{"a":{"prefixItems":[true,{"properties":{"b":{}}}]}}}`, `{"a":[1,{"b":1}]}`, `{"a":[1,{"x":1}]}`, "/a/1/x"},
		"InDraft07Tuples":       {`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"items":[{"properties":{"b":{}}}],"additionalItems":{"properties":{"c":{}}}}}}`, `{"a":[{"b":1},{"c":1}]}`, `{"a":[{"b":1},{"b":1}]}`, "/a/1/b"},
		"InAdditionalItems":     {`{"type":"object","properties":{"a":{"prefixItems":[{}],"unevaluatedItems":{"properties":{"b":{}}}}}}`, `{"a":[1,{"b":1}]}`, `{"a":[1,{"x":1}]}`, "/a/1/x"},
		"InPatternProperties":   {`{"type":"object","patternProperties":{"^p":{"properties":{"b":{}}}}}`, `{"p1":{"b":1}}`, `{"p1":{"x":1}}`, "/p1/x"},
		"BesidePatternOnes":     {`{"type":"object","patternProperties":{"^p":{}}}`, `{"p1":1}`, `{"x":1}`, "/x"},
		"InAdditionalOnes":      {`{"type":"object","additionalProperties":{"properties":{"b":{}}}}`, `{"any":{"b":1}}`, `{"any":{"x":1}}`, "/any/x"},
		"InUnevaluatedOnes":     {`{"type":"object","unevaluatedProperties":{"properties":{"b":{}}}}`, `{"any":{"b":1}}`, `{"any":{"x":1}}`, "/any/x"},
		"ThroughAllOf":          {`{"type":"object","allOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]}`, `{"a":1,"b":1}`, `{"a":1,"b":1,"x":1}`, "/x"},
		"InsideAllOf":           {`{"type":"object","allOf":[{"properties":{"a":{"properties":{"b":{}}}}}]}`, `{"a":{"b":1}}`, `{"a":{"x":1}}`, "/a/x"},
		"ThroughAnyOf":          {`{"type":"object","anyOf":[{"properties":{"a":{}}},{"required":["b"]}]}`, `{"a":1}`, `{"a":1,"x":1}`, "/x"},
		"InsideAnyOf":           {`{"type":"object","properties":{"a":{"anyOf":[{"type":"array","items":{"properties":{"b":{}}}},{"type":"null"}]}}}`, `{"a":[{"b":1}]}`, `{"a":[{"x":1}]}`, "/a/0/x"},
		"ThroughOneOf":          {`{"type":"object","oneOf":[{"properties":{"k":{"const":1},"a":{}}},{"properties":{"k":{"const":2},"b":{}}}]}`, `{"k":1,"a":1}`, `{"k":1,"b":1}`, "/b"},
		"ThroughIf":             {`{"type":"object","if":{"properties":{"a":{"const":1}}},"then":{"properties":{"b":{}}},"else":{"properties":{"c":{}}}}`, `{"a":1,"b":1}`, `{"a":1,"c":1}`, "/c"},
		"InsideIf":              {`{"type":"object","if":{"properties":{"a":{"properties":{"b":{}}}}}}`, `{"a":{"b":1}}`, `{"a":{"x":1}}`, "/a/x"},
		"InsideThen":            {`{"type":"object","if":true,"then":{"properties":{"a":{"properties":{"b":{}}}}}}`, `{"a":{"b":1}}`, `{"a":{"x":1}}`, "/a/x"},
		"ThroughDependent":      {`{"type":"object","properties":{"a":{}},"dependentSchemas":{"a":{"properties":{"b":{}}}}}`, `{"a":1,"b":1}`, `{"b":1}`, "/b"},
		"ThroughDraft07Depends": {`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{}},"dependencies":{"a":{"properties":{"b":{}}}}}`, `{"a":1,"b":1}`, `{"a":1,"x":1}`, "/x"},
		"BehindRef":             {`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"properties":{"b":{"$ref":"#/$defs/B"}}},"B":{"properties":{"c":{}}}}}`, `{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":1,"x":1}}}`, "/a/b/x"},
		"BehindRefAtOnce":       {`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"properties":{"b":{}}}}}`, `{"a":{"b":1}}`, `{"a":{"x":1}}`, "/a/x"},
		"BehindRefWithin":       {`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"type":"array","items":{"properties":{"b":{}}}}}}`, `{"a":[{"b":1}]}`, `{"a":[{"x":1}]}`, "/a/0/x"},
		"BehindRefsToRefs":      {`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"$ref":"#/$defs/B"},"B":{"$ref":"#/$defs/C"},"C":{"properties":{"b":{}}}}}`, `{"a":{"b":1}}`, `{"a":{"x":1}}`, "/a/x"},
		"BehindDraft07Ref":      {`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"$ref":"#/definitions/A"}},"definitions":{"A":{"type":"object","properties":{"b":{"type":"object","properties":{"c":{}}}}}}}`, `{"a":{"b":{"c":1}}}`, `{"a":{"b":{"x":1}}}`, "/a/b/x"},
		"BehindDraft07Siblings": {`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"$ref":"#/definitions/A","properties":{"c":{}}}},"definitions":{"A":{"properties":{"b":{}}}}}`, `{"a":{"b":1,"c":1}}`, `{"a":{"x":1}}`, "/a/x"},
		"BehindZodsRef":         {`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"type":"object","properties":{"b":{}}},"c":{"$ref":"#/properties/a"}}}`, `{"c":{"b":1}}`, `{"c":{"x":1}}`, "/c/x"},
		"BehindAnExtendedRef":   {`{"type":"object","properties":{"a":{"properties":{"b":{}}},"c":{"allOf":[{"$ref":"#/properties/a"},{"properties":{"d":{}}}]}}}`, `{"c":{"b":1,"d":1}}`, `{"c":{"b":1,"x":1}}`, "/c/x"},
		"InsideAnExtendedRef":   {`{"type":"object","properties":{"c":{"$ref":"#/$defs/A","required":["b"]}},"$defs":{"A":{"properties":{"b":{"properties":{"p":{}}}}}}}`, `{"c":{"b":{"p":1}}}`, `{"c":{"b":{"x":1}}}`, "/c/b/x"},
		"InsideDependent":       {`{"type":"object","properties":{"a":{}},"dependentSchemas":{"a":{"properties":{"b":{"properties":{"p":{}}}}}}}`, `{"a":1,"b":{"p":1}}`, `{"a":1,"b":{"x":1}}`, "/b/x"},
		"BehindAnchor":          {`{"type":"object","properties":{"a":{"$ref":"#A"}},"$defs":{"x":{"$anchor":"A","properties":{"b":{}}}}}`, `{"a":{"b":1}}`, `{"a":{"x":1}}`, "/a/x"},
		"BehindId":              {`{"type":"object","properties":{"a":{"$ref":"T0"}},"$defs":{"x":{"$id":"T0","properties":{"b":{"$ref":"T0"}}}}}`, `{"a":{"b":{}}}`, `{"a":{"b":{"x":1}}}`, "/a/b/x"},
		"BehindRecursion":       {`{"type":"object","properties":{"kids":{"items":{"$ref":"#"}}}}`, `{"kids":[{"kids":[]}]}`, `{"kids":[{"kids":[{"x":1}]}]}`, "/kids/0/kids/0/x"},
		"BehindUnknownKeywords": {`{"type":"object","properties":{"a":{"$ref":"#/components/A"}},"components":{"A":{"properties":{"b":{}}}}}`, `{"a":{"b":1}}`, `{"a":{"x":1}}`, "/a/x"},
		"DespiteANot":           {`{"type":"object","properties":{"a":{}},"not":{"properties":{"x":{"const":2}},"required":["x"]}}`, `{"a":1}`, `{"a":1,"x":1}`, "/x"},
		"DespiteItsCase":        {`{"type":"object","properties":{"a":{}},"AdditionalProperties":true}`, `{"a":1}`, `{"A":1}`, "/A"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustCompileInput(t, c.raw)
			s.t = t
			s.accepts(c.ok)
			s.refuses(c.bad, c.at+unknown)
		})
	}
}

func TestWhatASchemaLeavesFreeStaysFree(t *testing.T) {
	for _, raw := range []string{
		`{"type":"object","properties":{"a":{}}}`,
		`{"type":"object","properties":{"a":true}}`,
		`{"type":"object","properties":{"a":{"type":"object"}}}`,
		`{"type":"object","properties":{"a":{"$ref":"#/$defs/free"}},"$defs":{"free":{"type":"object"}}}`,
		`{"type":"object","properties":{"a":{"anyOf":[{"type":"object"},{"type":"null"}]}}}`,
		`{"type":"object","properties":{"a":{"properties":{"b":{}},"additionalProperties":true}}}`,
		`{"type":"object","properties":{"a":{"properties":{"b":{}},"unevaluatedProperties":{"type":"integer"}}}}`,
		`{"type":"object","properties":{"a":{"anyOf":[{"properties":{"b":{}},"additionalProperties":true},{"type":"null"}]}}}`,
		`{"type":"object","additionalProperties":true}`,
	} {
		mustCompileInput(t, raw).accepts(`{"a":{"x":1}}`)
	}
	mustCompileOutput(t, `{"type":"object","properties":{"a":{"properties":{"b":{}}}}}`).accepts(`{"a":{"x":1},"y":2,"big":9007199254740993}`)
}

// Closing must not decide between two forms that the schema lets no one choose.
func TestClosingLetsNothingPassThatTheSchemaRefuses(t *testing.T) {
	mustCompileInput(t, `{"type":"object","oneOf":[{"properties":{"a":{"properties":{"p":{}}}}},{"properties":{"a":{"properties":{"q":{}}}}}]}`).
		refuses(`{"a":{"p":1}}`, `(root): fits more than one of the forms of which it must fit one`)
	mustCompileInput(t, `{"type":"object","properties":{"a":{}},"not":{"properties":{"a":{"properties":{"p":{}}}},"required":["a"]}}`).
		refuses(`{"a":{"x":1}}`, `(root): is not what the schema of this tool allows`)
	mustCompileInput(t, `{"type":"object","properties":{"a":{},"b":{}},"if":{"properties":{"a":{"properties":{"p":{}}}},"required":["a"]},"then":{"required":["b"]}}`).
		refuses(`{"a":{"x":1}}`, `/a/x: is not a parameter of this tool; /b: is missing`)
}
