package policies

import (
	_ "embed"
	"slices"
)

//go:embed access.schema.json
var accessSchema []byte

// Schema returns the JSON Schema of access.yaml, for editors. It says less than New, which
// also knows what a name refers to: what it refuses New refuses too.
func Schema() []byte { return slices.Clone(accessSchema) }
