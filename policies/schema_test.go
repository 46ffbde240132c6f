package policies_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/wicketgate/wicketgate/policies"
)

func accessSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(policies.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("access.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("access.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var errNotJSON = errors.New("not JSON")

// validate is what an editor does with access.yaml.
func validate(s *jsonschema.Schema, access []byte) error {
	var n yaml.Node
	if err := yaml.Unmarshal(access, &n); err != nil || n.IsZero() {
		return errors.Join(errNotJSON, err)
	}
	var b bytes.Buffer
	if err := writeJSON(jsontext.NewEncoder(&b), &n); err != nil {
		return errors.Join(errNotJSON, err)
	}
	v, err := jsonschema.UnmarshalJSON(&b)
	if err != nil {
		return errors.Join(errNotJSON, err)
	}
	return s.Validate(v)
}

// writeJSON writes a node as JSON, numbers as they are written, times as text.
func writeJSON(e *jsontext.Encoder, n *yaml.Node) error {
	open, end := jsontext.BeginObject, jsontext.EndObject
	switch n.Kind {
	case yaml.DocumentNode:
		return writeJSON(e, n.Content[0])
	case yaml.ScalarNode:
		if tag := n.ShortTag(); tag == "!!int" || tag == "!!float" || tag == "!!bool" || tag == "!!null" && n.Value == "null" {
			return e.WriteValue(jsontext.Value(n.Value))
		} else if tag == "!!null" {
			return e.WriteToken(jsontext.Null)
		}
		return e.WriteToken(jsontext.String(n.Value))
	case yaml.SequenceNode:
		open, end = jsontext.BeginArray, jsontext.EndArray
	}
	if err := e.WriteToken(open); err != nil {
		return err
	}
	for i, c := range n.Content {
		var err error
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			err = e.WriteToken(jsontext.String(c.Value))
		} else {
			err = writeJSON(e, c)
		}
		if err != nil {
			return err
		}
	}
	return e.WriteToken(end)
}

// goodAccess returns the policies that are in this repository for people to read, by
// where they are: examples, blocks of documents and cases of the tests.
func goodAccess(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"example": []byte(example)}
	for _, file := range globbed(t, "examples/*/access.yaml") {
		out[file] = readFile(t, file)
	}
	for _, file := range globbed(t, "testdata/*.txtar") {
		out[file] = txtar.Parse(readFile(t, file)).Files[0].Data
	}
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			for _, m := range block.FindAllSubmatch(readFile(t, path), -1) {
				if bytes.HasPrefix(m[1], []byte("version: 1")) {
					out[path+": "+string(m[1])] = m[1]
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func globbed(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s, %v", pattern, err)
	}
	return files
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSchemaTakesWhatWeShow(t *testing.T) {
	s := accessSchema(t)
	for where, access := range goodAccess(t) {
		if err := validate(s, access); err != nil && !errors.Is(err, errNotJSON) {
			t.Errorf("%s: %v", where, err)
		}
		if _, err := policies.New(t.Context(), policies.Config{Access: access}); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

func TestSchemaTakesTheWholeLanguage(t *testing.T) {
	s := accessSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		text := drawDoc(t).text()
		if err := validate(s, []byte(text)); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

// beyondSchema are the mistakes that no schema sees: those of YAML, and of names that
// refer to each other.
var beyondSchema = regexp.MustCompile(`not valid YAML|is already on line|are not supported|second document|is not text: put it in quotes|neither text, true, false|is .*: it must be|in its one spelling|a pattern is a SPIFFE ID|of printable UTF-8|has no servers|\\u200b|%c0|a prefix (has no|ends in)|a workload is no user|is not known: write an IANA|over midnight|(is|are) not defined|write whole seconds|has no condition: add one|regular expression of RE2|write a host in lower case|is no role: add it|a limit is|is here twice|in the templates|omit takes|nothing to omit|write a time with its zone|nothing of it is denied|no login suits it`)

func TestSchemaRefusesWhatTheParserRefuses(t *testing.T) {
	s := accessSchema(t)
	a, err := txtar.ParseFile("testdata/bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := 0; i+1 < len(a.Files); i += 2 {
		doc, want := a.Files[i], a.Files[i+1]
		switch err := validate(s, doc.Data); {
		case err == nil && !beyondSchema.Match(want.Data):
			t.Errorf("%s: the schema takes it:\n%s%s", doc.Name, doc.Data, want.Data)
		case err != nil && !errors.Is(err, errNotJSON):
			refused++
		}
	}
	if t.Logf("the schema refuses %d of %d", refused, len(a.Files)/2); refused < 60 {
		t.Errorf("the schema refuses only %d", refused)
	}
}

// TestSchemaRefusesNothingThatTheParserTakes spoils random policies in one place: an
// editor must not mark as wrong what would be loaded.
func TestSchemaRefusesNothingThatTheParserTakes(t *testing.T) {
	s := accessSchema(t)
	both, parser := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(drawDoc(t).text()), &n); err != nil {
			t.Fatal(err)
		}
		spoil(t, n.Content[0])
		b, err := yaml.Marshal(&n)
		if err != nil {
			t.Skip(err)
		}
		refused := validate(s, b)
		_, err = policies.New(t.Context(), policies.Config{Access: b})
		switch {
		case errors.Is(refused, errNotJSON):
		case refused != nil && err == nil:
			t.Fatalf("taken, but %v\n%s", refused, b)
		case refused != nil:
			both++
		case err != nil:
			parser++
		}
	})
	if t.Logf("%d refused by both, %d by the parser alone", both, parser); both < parser {
		t.Error("the schema finds less than half of the mistakes")
	}
}

// spoil changes one node below n.
func spoil(t *rapid.T, n *yaml.Node) {
	for top := true; len(n.Content) > 0 && (top || !maybe(t, "here", 6)); top = false {
		i := rapid.IntRange(0, len(n.Content)-1).Draw(t, "child")
		if n.Kind == yaml.MappingNode && !maybe(t, "key", 8) {
			i |= 1
		}
		n = n.Content[i]
	}
	odd := pick(t, "odd", "", "x", "*", "A b", "0", "-1", "1.5", "true", "null", "15m", "90s", "1h30m", "2d", "09:00", "24:00", "9:00", "omit", "spiffe://example.org/*", "file:///a/*", "file:///a*", "/a/../b", "[]", "{}", "[x]", "[1, x]", "{x: 1}", "sub", "http://[", "a.example.com", "*.com", "high", "gold", "office", "nobody")
	var other yaml.Node
	if err := yaml.Unmarshal([]byte(odd), &other); err != nil || other.IsZero() || maybe(t, "text", 4) {
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: odd}
		return
	}
	*n = *other.Content[0]
}

// wrongKeys has for each object of the schema, by JSON pointer, a document with the key
// zzz in such a mapping.
var wrongKeys = map[string]string{
	"":                                       `zzz: 1`,
	"/properties/risks/additionalProperties": `risks: {low: {zzz: 1}}`,
	"/$defs/window":                          `hours: {office: {zzz: 1}}`,
	"/$defs/who":                             `roles: {r: {who: {zzz: 1}}}`,
	"/$defs/argument":                        `servers: {s: {tools: {t: {arguments: {a: {zzz: 1}}}}}}`,
	"/$defs/filter":                          `servers: {s: {tools: {t: {filter: {zzz: 1}}}}}`,
	"/$defs/approval":                        `servers: {s: {tools: {t: {approval: {zzz: 1}}}}}`,
	"/$defs/limit":                           `servers: {s: {tools: {t: {limits: [{zzz: 1}]}}}}`,
	"/$defs/toolConditions":                  `servers: {s: {tools: {t: {zzz: 1}}}}`,
	"/$defs/resourceConditions":              `servers: {s: {resources: {"a:b": {zzz: 1}}}}`,
	"/$defs/promptConditions":                `servers: {s: {prompts: {p: {zzz: 1}}}}`,
	"/$defs/factsOfServer":                   `servers: {s: {zzz: 1}}`,
	"/$defs/factsOfServer/properties/all":    `servers: {s: {all: {zzz: 1}}}`,
	"/$defs/grantsOfServer":                  `roles: {r: {servers: {s: {zzz: 1}}}}`,
	"/$defs/grantsOfTemplate":                `templates: {x: {servers: {s: {zzz: 1}}}}`,
	"/$defs/template":                        `templates: {x: {zzz: 1}}`,
	"/$defs/role":                            `roles: {r: {zzz: 1}}`,
	"/$defs/denial":                          `deny: {d: {zzz: 1}}`,
	"/$defs/denial/properties/servers/additionalProperties": `deny: {d: {servers: {s: {zzz: 1}}}}`,
}

var takes = regexp.MustCompile(`unknown key "zzz": .* takes (.*)`)

// TestSchemaAndParserHaveTheSameKeys asks the parser, by a wrong key, for the right ones.
func TestSchemaAndParserHaveTheSameKeys(t *testing.T) {
	var doc any
	if err := json.Unmarshal(policies.Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	schema := map[string][]string{}
	collectKeys(schema, "", doc)
	for _, at := range slices.Sorted(maps.Keys(schema)) {
		t.Run(at, func(t *testing.T) {
			access := "version: 1\n" + wrongKeys[at]
			_, err := policies.New(t.Context(), policies.Config{Access: []byte(access)})
			if err == nil {
				t.Fatalf("no document with a wrong key in it: %q is taken", access)
			}
			m := takes.FindStringSubmatch(err.Error())
			if m == nil {
				t.Fatalf("%s: does not say which keys there are: %v", access, err)
			}
			keys := slices.Sorted(slices.Values(strings.Split(strings.ReplaceAll(m[1], " and ", ", "), ", ")))
			if diff := cmp.Diff(schema[at], keys); diff != "" {
				t.Errorf("(-schema +parser)\n%s", diff)
			}
		})
	}
}

// collectKeys notes the keys of each object of the schema with fixed ones.
func collectKeys(out map[string][]string, at string, schema any) {
	switch schema := schema.(type) {
	case map[string]any:
		if properties, ok := schema["properties"].(map[string]any); ok {
			out[at] = slices.Sorted(maps.Keys(properties))
		}
		for name, sub := range schema {
			collectKeys(out, at+"/"+name, sub)
		}
	case []any:
		for _, sub := range schema {
			collectKeys(out, at+"/oneOf", sub)
		}
	}
}
