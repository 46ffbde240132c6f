package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/credential"
)

// borrow obtains the credential for a message of that method, once its token is spent, and
// returns ctx with it. Who borrows ends it.
func (h *hop) borrow(ctx context.Context, call, method string) (context.Context, *lent, *rpcError) {
	if !h.lender.wants(method) {
		return ctx, nil, nil
	}
	may := func() *rpcError { return nil } // no revocation is known here
	in, failure := h.lender.lend(ctx, credential.Request{Call: h.call, ID: call, Session: h.sessionName(), Until: h.until(method)}, may)
	if failure != nil {
		return ctx, nil, failure
	}
	return in.in(ctx), in, nil
}

// doWith does it with the credential that it needs.
func (h *hop) doWith(ctx context.Context, call string, do func(context.Context) (outcome, *rpcError)) (out outcome, failure *rpcError) {
	if ctx, h.lent, failure = h.borrow(ctx, call, h.needs()); failure != nil {
		return outcome{}, failure
	}
	out, failure = do(ctx)
	return out, h.lent.why(failure)
}

// until is when the message has ended at the latest. The caller bounds how long it waits;
// a stream may be open as long as a session.
func (h *hop) until(method string) time.Time {
	if method == http.MethodGet || method == "subscriptions/listen" {
		return h.cfg.Now().Add(sessionLifetime)
	}
	return h.cfg.Now().Add(callTimeout)
}

// sessionName says for whose use a credential may be kept: for the session of the server
// that the caller names, or for its grant.
func (h *hop) sessionName() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", h.cfg.Resource, h.call.Subject(), h.call.ClientID(), h.call.Txn(), h.leg.session))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// needs is what decides whether a message has a credential.
func (h *hop) needs() string {
	if h.msg.method != "" {
		return h.msg.method
	}
	return h.r.Method
}

// recorded reads definitions between an intent and an outcome in the audit log, with a
// credential, where the server answers nothing without one.
func (h *hop) recorded(ctx context.Context, read func(context.Context) error) error {
	if !h.lender.wants("tools/list") {
		return read(ctx)
	}
	e := h.event
	e.Kind, e.Call, e.Action, e.Decision, e.Reason = audit.Intent, rand.Text(), "tools/list", audit.Allow, "the definitions are older than a minute"
	if err := h.cfg.Audit.Record(ctx, e); err != nil {
		return err
	}
	done := audit.Event{Kind: audit.Outcome, Call: e.Call, Subject: e.Subject, Client: e.Client, Txn: e.Txn, TokenID: e.TokenID, Server: e.Server, Action: e.Action, Status: "ok"}
	ctx, in, failure := h.borrow(ctx, e.Call, "tools/list")
	defer in.end()
	if failure == nil {
		done.Lease = in.lease()
		if err := read(ctx); err != nil {
			failure = in.why(errUnavailable(reasonOf(err, "definitions_unavailable"), err))
		}
	}
	if failure != nil {
		done.Status, done.Reason = "error", failure.reason
	}
	if err := h.cfg.Audit.Record(ctx, done); err != nil {
		return err
	}
	if failure != nil {
		return failure
	}
	return nil
}

// clean is what the server says as its Redactor lets it pass, with how much was masked.
// Definitions of tools are not redacted: a token is for one of them as it is.
func (h *hop) clean(m peer) (peer, int, *rpcError) {
	part := &m.params
	switch {
	case m.result != nil:
		part = &m.result
	case m.fault != nil:
		part = &m.fault
	}
	if h.msg.method == "tools/list" && m.result != nil {
		return h.definitions(m)
	}
	if *part == nil {
		return m, m.masked, nil
	}
	out, found, err := h.cfg.Redactor.JSON(*part)
	if err != nil {
		return m, 0, errRedaction(err)
	}
	if out != nil {
		*part = out
		m.raw = m.written()
	}
	return m, m.masked + found.Total(), nil
}

// definitions leaves out those in which a credential was masked.
func (h *hop) definitions(m peer) (peer, int, *rpcError) {
	if m.masked == 0 {
		return m, 0, nil
	}
	result, err := readObject(m.result)
	kept := [][]byte{}
	if err == nil {
		err = elements(orNone(result.get("tools")), func(definition jsontext.Value) error {
			if !bytes.Contains(definition, []byte(mask)) {
				kept = append(kept, definition)
			}
			return nil
		})
	}
	if err != nil {
		return m, 0, errUnavailable("upstream_malformed", err)
	}
	m.result = result.with(member{"tools", slices.Concat([]byte{'['}, bytes.Join(kept, []byte{','}), []byte{']'})})
	m.raw = m.written()
	return m, m.masked, nil
}

// written is the message with what of it has changed.
func (m peer) written() []byte {
	switch {
	case m.result != nil:
		return rpcBody(m.id, m.result, nil)
	case m.fault != nil:
		return rpcFault(m.id, m.fault)
	}
	return envelope(m.id, m.method, m.params)
}

// wary reads a body whose errors may quote the server.
type wary struct {
	io.ReadCloser
	without *echoes
}

// Read implements io.Reader.
func (w wary) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	return n, w.without.err(err)
}
