package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

// finished is the answer, looked at.
func (d *dialogue) finished(a peer) (outcome, *rpcError) {
	if a.fault != nil {
		return d.fault(a)
	}
	result, err := readObject(a.result)
	if err != nil {
		return outcome{}, errUnavailable("upstream_malformed", err)
	}
	finish := d.finish
	if text(result.get("resultType")) == inputRequired && !d.p.filtered() {
		if !d.p.stateless {
			return d.askClient(result)
		}
		finish = d.p.inputRequired
	}
	replaced, out, failure := finish(d.ctx, result)
	if failure != nil {
		return outcome{}, failure
	}
	final := a.result
	if replaced != nil {
		final = replaced
	}
	if d.p.filtered() {
		if final, failure = d.p.filterCall(result, &out); failure != nil {
			return outcome{}, failure
		}
	}
	if d.p.msg.method != "tools/list" { // of which every definition was approved as it is
		var n int
		if final, n, err = d.p.redact(final); err != nil {
			return outcome{}, errRedaction(err)
		}
		out.redactions += n
	}
	out.redactions += a.masked
	if d.p.stateless {
		final = completed(final)
	}
	raw := a.raw
	if !same(final, a.result) || !bytes.Equal(d.sent.id, d.p.msg.id) {
		raw = rpcBody(d.p.msg.id, final, nil)
	}
	out.resultDigest, out.answer = digest(raw), func() { d.p.out.final(raw) }
	return out, nil
}

// same reports whether nothing replaced the value that was read.
func same(a, b jsontext.Value) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// completed says what an answer of the session era does not (MCP 2026-07-28, basic,
// resultType).
func completed(result jsontext.Value) jsontext.Value {
	o, err := readObject(result)
	if err != nil || o.get("resultType") != nil {
		return result
	}
	return o.with(member{"resultType", quote("complete")})
}

// fault is an error of the upstream's, passed on.
func (d *dialogue) fault(a peer) (outcome, *rpcError) {
	fault, redactions, err := d.p.redact(a.fault)
	redactions += a.masked
	if err != nil {
		return outcome{}, errRedaction(err)
	}
	o, err := readObject(fault)
	code, isNumber := number(o.get("code"))
	if err != nil || !isNumber {
		return outcome{}, errUnavailable("upstream_malformed", errors.Join(err, errNotRPC))
	}
	if other := codeFor(code, d.p.stateless); other != code {
		fault = o.with(member{"code", fmt.Append(nil, other)})
	}
	if d.p.filtered() {
		fault = withheld(fmt.Append(nil, codeFor(code, d.p.stateless)))
	}
	raw := a.raw
	if !same(fault, a.fault) || !bytes.Equal(a.id, d.p.msg.id) {
		raw = rpcFault(d.p.msg.id, fault)
	}
	if d.p.stateless {
		d.p.out.status = statusOf(code)
	}
	return outcome{status: "error_from_upstream", resultDigest: digest(raw), redactions: redactions, answer: func() { d.p.out.final(raw) }}, nil
}

// codeFor is what a code of an upstream's is called for the client.
func codeFor(code int, stateless bool) int {
	switch {
	case stateless && code == codeNoResource:
		return codeInvalidParams
	case stateless && code == codeURLNeeded:
		return codeInternal
	}
	return code
}

// statusOf is the HTTP status of an error of the stateless era.
func statusOf(code int) int {
	switch code {
	case codeHeaderMismatch, codeCapability, codeVersion:
		return http.StatusBadRequest
	case codeNoMethod:
		return http.StatusNotFound
	}
	return http.StatusOK
}

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
