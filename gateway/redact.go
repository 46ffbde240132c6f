package gateway

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/redact"
)

// redacted is next, and then what the server's Redactor makes of the result. The output
// schema holds for what the upstream said, and not for the masks.
func (u *upstream) redacted(next finisher) finisher {
	return func(ctx context.Context, result jsontext.Value) (jsontext.Value, outcome, *rpcError) {
		replaced, o, failure := next(ctx, result)
		if failure != nil {
			return nil, outcome{}, failure
		}
		if replaced != nil {
			result = replaced
		}
		out, found, err := u.Redactor.JSON(result)
		if err != nil {
			return nil, outcome{}, errRedaction(err)
		}
		if out != nil {
			replaced = out
		}
		o.redactions = found.Total()
		return replaced, o, nil
	}
}

// redactError is the same for the error of an upstream, which may quote what it was about.
func (u *upstream) redactError(e jsontext.Value) (jsontext.Value, outcome, *rpcError) {
	out, found, err := u.Redactor.JSON(e)
	if err != nil {
		return nil, outcome{}, errRedaction(err)
	}
	return out, outcome{status: "error_from_upstream", redactions: found.Total()}, nil
}

// errRedaction tells the client that there is an answer which it may not have. Its text
// names the class in the log alone.
func errRedaction(err error) *rpcError {
	if errors.Is(err, redact.ErrDenied) {
		return &rpcError{Code: codeDenied, Message: "the answer holds what must not leave this server", reason: "redaction_denied", cause: err}
	}
	return errUnavailable("redaction_failed", err)
}

// notification passes on what comes before an answer: progress and log messages, whose
// texts are the upstream's as well.
func (p *passage) notification(raw []byte) error {
	out, _, err := p.up.Redactor.JSON(raw)
	if err != nil {
		return err
	}
	if out != nil {
		raw = out
	}
	return p.out.notification(raw)
}
