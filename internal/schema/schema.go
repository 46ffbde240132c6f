// Package schema checks values against the JSON Schemas of tools.
//
// A schema comes from an upstream, which may be hostile. This package owns what
// one may cost, to compile and at each check; what it may refer to, which is
// itself; and that an input schema lets no parameter through that it does not
// name. Beneath is santhosh-tekuri/jsonschema, which no other package imports.
//
// Every dialect from draft-07 to 2020-12 is read in one way, the strictest: what
// stands beside a draft-07 $ref counts, array-form items are prefixItems. format
// and content* are annotations (2020-12 validation §7, §8). $dynamicRef and
// $recursiveRef are NOT supported, and no other document is ever read.
//
// It does NOT know tools, keep schemas or decide who may call: package gateway does.
package schema

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds on a schema.
const (
	maxSchemaSize  = 256 << 10
	maxDepth       = 64      // of a schema, and of a value
	maxSubschemas  = 2048    // as written
	maxCompiled    = 4096    // as compiled, where some are there closed and open
	maxSchemaCount = 1 << 20 // a length or count that a schema may name
	maxPattern     = 2 << 10 // bytes of one regular expression
	maxProgram     = 4096    // steps of one, repetitions unrolled
	maxPrograms    = 32768   // steps of all
	maxEntries     = 1 << 18 // of the graph from which the cost of a check is computed
)

// Bounds on one check.
const (
	maxWork      = 1 << 18 // visits of a subschema to a value
	maxMatching  = 1 << 28 // bytes of strings times steps of the regular expressions that may see them
	maxLiteral   = 128     // bytes of a number
	maxExponent  = 400
	maxProblems  = 5
	maxErrorText = 400
)

// What a value is told, whatever the schema, in the words that the client sees.
var (
	errNotJSON     = errors.New("the body is not one strict JSON value: valid UTF-8, no member named twice, nothing after it")
	errTooDeep     = fmt.Errorf("the body is nested deeper than %d", maxDepth)
	errUncheckable = errors.New("the arguments cannot be checked against the schema of this tool")
	errTooMuch     = errors.New("the arguments are too large to be checked against the schema of this tool")
)

// Schema is a compiled JSON Schema. The zero value, and nil, refuse everything.
type Schema struct {
	compiled *jsonschema.Schema
	exact    bool   // numbers must mean the same after RFC 8785, for a digest is taken of them
	costs    []cost // by depth of a value: what it can cost, at most
	decoders sync.Pool
}

// CompileInput compiles an inputSchema, closed: what it does not name is refused,
// at every level that names anything, whether or not the schema says so.
func CompileInput(raw jsontext.Value) (*Schema, error) {
	if len(raw) == 0 {
		return nil, errors.New("no inputSchema")
	}
	return compile(raw, closed)
}

// CompileOpenInput is CompileInput for a tool that takes more than it names.
func CompileOpenInput(raw jsontext.Value) (*Schema, error) {
	s, err := CompileInput(raw)
	if err != nil {
		return nil, err // held to the same, so that opening a tool never serves a broken one
	}
	open, err := CompileOutput(raw)
	if err != nil {
		return nil, err
	}
	open.exact = s.exact
	return open, nil
}

// CompileOutput compiles an outputSchema as it is.
func CompileOutput(raw jsontext.Value) (*Schema, error) { return compile(raw, asWritten) }

func compile(raw jsontext.Value, f form) (s *Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("compile schema: %v", p)
		}
	}()
	if len(raw) > maxSchemaSize {
		return nil, fmt.Errorf("schema is larger than %d bytes", maxSchemaSize)
	}
	d, err := readDocument(raw)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if f == closed && !d.root.describesObject() {
		return nil, errors.New(`read schema: the root is not {"type":"object"}`)
	}
	doc, err := write(d.root, f)
	if err != nil {
		return nil, fmt.Errorf("close schema: %w", err)
	}
	s = &Schema{exact: f == closed}
	if s.compiled, err = compileDocument(doc, d.patterns); err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	if s.costs, err = measure(s.compiled); err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	return s, nil
}

func compileDocument(doc any, ps patterns) (*jsonschema.Schema, error) {
	const url = "urn:wicketgate:schema" // what the library calls the one document that it sees
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.UseRegexpEngine(ps.compile)
	if err := c.AddResource(url, doc); err != nil {
		return nil, err
	}
	s, err := c.Compile(url)
	var invalid *jsonschema.ValidationError
	if rejected := new(jsonschema.SchemaValidationError); errors.As(err, &rejected) && errors.As(rejected.Err, &invalid) {
		return nil, explain(invalid)
	}
	return s, err
}

// noLoader is the second lock: the documents that writer makes refer to nothing
// outside themselves.
type noLoader struct{}

func (noLoader) Load(u string) (any, error) {
	return nil, fmt.Errorf("%s is another document", u)
}

// Check validates v. The error is for the client: where and what, at most
// maxErrorText bytes. It is safe for concurrent use.
func (s *Schema) Check(v jsontext.Value) (err error) {
	if s == nil || s.compiled == nil {
		return errUncheckable
	}
	defer func() {
		if recover() != nil { // the library's; it must not end the process
			err = errUncheckable
		}
	}()
	value, err := s.read(v)
	if err != nil {
		return err
	}
	var invalid *jsonschema.ValidationError
	if err := s.compiled.Validate(value); errors.As(err, &invalid) {
		return explain(invalid)
	} else if err != nil {
		return errUncheckable
	}
	return nil
}

func (s *Schema) read(v jsontext.Value) (any, error) {
	d, ok := s.decoders.Get().(*jsontext.Decoder)
	if !ok {
		d = new(jsontext.Decoder)
	}
	value, err := (&reader{schema: s, d: d}).readAll(v)
	d.Reset(new(bytes.Buffer)) // lets go of v
	s.decoders.Put(d)
	return value, err
}
