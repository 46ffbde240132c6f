package policies_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The form of access.yaml, as the model reads and writes it. It is written from the
// documentation alone, and shares nothing with the parser.
type modelDoc struct {
	Version   int                               `yaml:"version"`
	Hours     map[string]oneOrMany[modelWindow] `yaml:"hours,omitempty"`
	Risks     map[string]modelConditions        `yaml:"risks,omitempty"`
	Servers   map[string]modelFacts             `yaml:"servers,omitempty"`
	Templates map[string]modelRole              `yaml:"templates,omitempty"`
	Roles     map[string]modelRole              `yaml:"roles,omitempty"`
	Deny      map[string]modelDenial            `yaml:"deny,omitempty"`
}

type modelWindow struct {
	Days []string `yaml:"days,omitempty,flow"`
	From string   `yaml:"from"`
	To   string   `yaml:"to"`
	Zone string   `yaml:"zone"`
}

// modelFacts are what holds of a server for every role.
type modelFacts struct {
	ObserveUntil string          `yaml:"observe_until,omitempty"`
	All          modelConditions `yaml:"all,omitempty"`
	modelItems   `yaml:",inline"`
}

// modelRole is a role, or a template, which has no who.
type modelRole struct {
	Template        oneOrMany[string] `yaml:"template,omitempty"`
	Who             *modelWho         `yaml:"who,omitempty"`
	modelConditions `yaml:",inline"`
	Servers         map[string]modelItems `yaml:"servers,omitempty"`
}

type modelWho struct {
	Users   []string                  `yaml:"users,omitempty,flow"`
	Groups  []string                  `yaml:"groups,omitempty,flow"`
	Clients []string                  `yaml:"clients,omitempty,flow"`
	Claims  map[string]oneOrMany[any] `yaml:"claims,omitempty,flow"`
}

// modelItems are what of a server is meant: tools, resources and prompts.
type modelItems struct {
	Tools     modelNames `yaml:"tools,omitempty"`
	Resources modelNames `yaml:"resources,omitempty"`
	Prompts   modelNames `yaml:"prompts,omitempty"`
}

type modelDenial struct {
	Who     *modelWho             `yaml:"who,omitempty"`
	Hours   string                `yaml:"hours,omitempty"`
	Servers map[string]modelItems `yaml:"servers"`
	Reason  string                `yaml:"reason,omitempty"`
}

type modelConditions struct {
	When      map[string]oneOrMany[any]  `yaml:"when,omitempty,flow"`
	Hours     string                     `yaml:"hours,omitempty"`
	ACR       []string                   `yaml:"acr,omitempty,flow"`
	MaxAge    string                     `yaml:"max_age,omitempty"`
	Bound     bool                       `yaml:"sender_constrained,omitempty"`
	Risk      string                     `yaml:"risk,omitempty"`
	Arguments map[string]modelConstraint `yaml:"arguments,omitempty"`
	Filter    oneOrMany[modelFilter]     `yaml:"filter,omitempty"`
	Approval  *modelApproval             `yaml:"approval,omitempty"`
	Limits    []modelLimit               `yaml:"limits,omitempty"`
	Redact    []string                   `yaml:"redact,omitempty,flow"`

	omit bool // it is the word omit
}

type modelConstraint struct {
	Min       *float64 `yaml:"min,omitempty"`
	Max       *float64 `yaml:"max,omitempty"`
	Enum      []any    `yaml:"enum,omitempty,flow"`
	Pattern   string   `yaml:"pattern,omitempty"`
	Domains   []string `yaml:"domains,omitempty,flow"`
	Paths     []string `yaml:"paths,omitempty,flow"`
	Claim     string   `yaml:"claim,omitempty"`
	MaxLength *int     `yaml:"max_length,omitempty"`
	Optional  bool     `yaml:"optional,omitempty"`
}

type modelFilter struct {
	At    string `yaml:"at"`
	Field string `yaml:"field"`
	In    []any  `yaml:"in,omitempty,flow"`
	Claim string `yaml:"claim,omitempty"`
}

type modelApproval struct {
	By     []string `yaml:"by,flow"`
	Within string   `yaml:"within,omitempty"`
	ACR    []string `yaml:"acr,omitempty,flow"`
	MaxAge string   `yaml:"max_age,omitempty"`
}

type modelLimit struct {
	Calls      int    `yaml:"calls,omitempty"`
	Per        string `yaml:"per,omitempty"`
	Concurrent int    `yaml:"concurrent,omitempty"`
	By         string `yaml:"by"`
}

// oneOrMany is a value, or a list of them.
type oneOrMany[T any] []T

func (l *oneOrMany[T]) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode((*[]T)(l))
	}
	var one T
	err := n.Decode(&one)
	*l = oneOrMany[T]{one}
	return err
}

func (l oneOrMany[T]) MarshalYAML() (any, error) {
	if len(l) == 1 {
		return l[0], nil
	}
	return []T(l), nil
}

// modelNames are names with the conditions of each: a list where there are none.
type modelNames map[string]modelConditions

func (n *modelNames) UnmarshalYAML(node *yaml.Node) error {
	*n = modelNames{}
	if node.Kind == yaml.SequenceNode {
		for _, name := range node.Content {
			(*n)[name.Value] = modelConditions{}
		}
		return nil
	}
	for i := 0; i < len(node.Content); i += 2 {
		var c modelConditions
		if v := node.Content[i+1]; v.Value == "omit" {
			c.omit = true
		} else if err := v.Decode(&c); err != nil {
			return err
		}
		(*n)[node.Content[i].Value] = c
	}
	return nil
}

func (n modelNames) MarshalYAML() (any, error) {
	out := map[string]any{}
	plain := true
	for name, c := range n {
		switch written, err := yaml.Marshal(c); {
		case err != nil:
			return nil, err
		case c.omit:
			out[name], plain = "omit", false
		case string(written) == "{}\n":
			out[name] = nil
		default:
			out[name], plain = c, false
		}
	}
	if plain {
		return slices.Sorted(maps.Keys(n)), nil
	}
	return out, nil
}

func readModel(t testing.TB, access string) modelDoc {
	t.Helper()
	var doc modelDoc
	d := yaml.NewDecoder(bytes.NewReader([]byte(access)))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// text writes the model down.
func (doc modelDoc) text() string {
	b, err := yaml.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("marshal: %v", err))
	}
	return string(b)
}
