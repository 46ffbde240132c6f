package policies

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// The reasons of an OPA elsewhere that gave no answer, besides those of every policy. It
// denies whatever it is.
const (
	ReasonOPAUnreachable Reason = "opa_unreachable" // no connection, or it broke
	ReasonOPAStatus      Reason = "opa_status"      // it answered with an error
	ReasonOPARedirect    Reason = "opa_redirect"    // it said to ask somebody else
)

// OPA is asked for decisions, at data.wicketgate.access.decision of its data API, with
// provenance. *opaclient.Client is one. An error may be an [OPAError].
type OPA interface {
	// Ask posts the document {"input": …} and returns the body of the answer.
	Ask(ctx context.Context, document []byte) ([]byte, error)
}

// OPAError is why an OPA gave no answer.
type OPAError struct {
	Reason Reason
	Err    error
}

func (e *OPAError) Error() string { return e.Err.Error() }

func (e *OPAError) Unwrap() error { return e.Err }

// DigestUnknown is the digest of a policy elsewhere that does not say which one it is. What
// is bound to it stays good when that policy changes.
const DigestUnknown = "opa-without-revision"

// remote is the policy of an OPA elsewhere.
type remote struct {
	opa    OPA
	digest atomic.Pointer[string] // of the newest answer
}

// newRemote makes a PDP that asks cfg.OPA. What of the input needs a parser is computed
// from access.yaml, which may be absent.
func newRemote(cfg Config) (*PDP, error) {
	foreign := len(cfg.Access) == 0
	if foreign {
		cfg.Access = []byte("version: 1\n")
	}
	doc, err := parseAccess(cfg.Name, cfg.Access)
	if err != nil {
		return nil, err
	}
	if doc == nil {
		return &PDP{}, nil
	}
	if err := doc.mayObserve(cfg.Name, cfg.Enforced); err != nil {
		return nil, err
	}
	r := &remote{opa: cfg.OPA}
	unknown := DigestUnknown
	r.digest.Store(&unknown)
	all := reads{}
	for _, name := range inputNames {
		all[name] = true
	}
	_, rules := compile(cfg.Name, doc)
	return &PDP{
		engine: &engine{remote: r, reads: all, always: all.need(), members: all.members(doc)}, rules: rules, servers: doc.servers(), timeout: cfg.Timeout,
		doc: doc, clocks: newClocks(doc.hours), facts: newFactReader(doc), foreign: foreign, ours: !foreign,
	}, nil
}

// ask is that of an engine.
func (r *remote) ask(ctx context.Context, in ast.Object) (answer, Reason, error) {
	v, err := ast.JSON(in)
	if err != nil {
		return answer{}, ReasonInvalidRequest, err
	}
	document, err := json.Marshal(map[string]any{"input": v}) // has the numbers of OPA's values
	if err != nil {
		return answer{}, ReasonInvalidRequest, err
	}
	body, err := r.opa.Ask(ctx, document)
	var why *OPAError
	switch {
	case errors.As(err, &why):
		return answer{}, why.Reason, err
	case err != nil:
		return answer{}, ReasonOPAUnreachable, err
	}
	return r.read(body)
}

// read is as strict as with our own Rego: what OPA answered is one decision or none.
func (r *remote) read(body []byte) (answer, Reason, error) {
	result, which, err := readRemote(body)
	switch {
	case err != nil:
		return answer{}, ReasonMalformed, fmt.Errorf("OPA's answer: %w", err)
	case result == nil:
		return answer{}, ReasonUndefined, errors.New("OPA has no decision")
	}
	v, err := ast.ValueFromReader(bytes.NewReader(result))
	if err != nil {
		return answer{}, ReasonMalformed, fmt.Errorf("OPA's answer: %w", err)
	}
	a, ok := answerOf(v)
	if !ok {
		return answer{}, ReasonMalformed, fmt.Errorf("OPA's decision is %v", v)
	}
	a.digest = which
	r.digest.Store(&which)
	return a, "", nil
}

// readRemote returns the result, nil if there is none, and the digest of the policy that
// gave it.
func readRemote(body []byte) (result jsontext.Value, digest string, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(body)) // refuses a name that is there twice
	if d.PeekKind() != '{' {
		return nil, "", errors.New("not a JSON object")
	}
	digest = DigestUnknown
	if _, err := d.ReadToken(); err != nil {
		return nil, "", err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, "", err
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, "", err
		}
		switch key {
		case "result":
			result = value.Clone()
		case "provenance":
			digest = digestOf(value)
		case "errors", "code": // of an OPA that failed (its API, "Errors"), whatever the status
			return nil, "", fmt.Errorf("it has %s", key)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, "", err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, "", errors.New("more than one JSON value")
	}
	return result, digest, nil
}

// digestOf is made of the revisions of the bundles that are loaded, by their names.
func digestOf(provenance jsontext.Value) string {
	var p struct {
		Bundles map[string]struct {
			Revision string `json:"revision"`
		} `json:"bundles"`
	}
	if err := json.Unmarshal(provenance, &p); err != nil || len(p.Bundles) == 0 {
		return DigestUnknown
	}
	for _, b := range p.Bundles {
		if b.Revision == "" {
			return DigestUnknown // it may change and keep its name
		}
	}
	text, err := json.Marshal(p.Bundles) // sorted
	if err != nil {
		return DigestUnknown
	}
	sum := sha256.Sum256(append([]byte("opa "), text...))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Probe asks a policy elsewhere for nothing, to know whether it answers and which one it
// is. It does nothing where the policy is here.
func (p *PDP) Probe(ctx context.Context) error {
	if p == nil || p.engine == nil || p.engine.remote == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	_, _, err := p.engine.remote.ask(ctx, ast.NewObject([2]*ast.Term{ast.InternedTerm("action"), ast.InternedTerm(string(ActionSession))}))
	return err
}
