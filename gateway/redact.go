package gateway

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/redact"
)

// redact is step 9 for what an upstream says: v without what the Redactor of the call masks,
// the same bytes if that is nothing, and how much it was. The output schema holds for what
// the upstream said, and not for the masks.
func (p *passage) redact(v jsontext.Value) (jsontext.Value, int, error) {
	if v == nil {
		return nil, 0, nil
	}
	out, found, err := p.redactor().JSON(v)
	if out == nil {
		out = v
	}
	return out, found.Total(), err
}

// redactKept is redact for what a server said before: perhaps when it was not known yet what
// it must not say.
func (p *passage) redactKept(v jsontext.Value) (jsontext.Value, int, error) {
	v, n, err := p.up.echoes.clean(v)
	if err != nil {
		return nil, 0, err
	}
	v, more, err := p.redact(v)
	return v, n + more, err
}

// errRedaction tells the client that there is an answer which it may not have. Its text
// names the class in the log alone.
func errRedaction(err error) *rpcError {
	if errors.Is(err, redact.ErrDenied) {
		return &rpcError{Code: codeDenied, Message: "the answer holds what must not leave this server", reason: "redaction_denied", cause: err}
	}
	return errUnavailable("redaction_failed", err)
}
