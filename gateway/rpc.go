package gateway

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// JSON-RPC error codes (JSON-RPC 2.0 §5.1, MCP 2025-11-25).
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
	codeHeaderMismatch = -32020 // MCP 2026-07-28, error codes
	codeCapability     = -32021
	codeVersion        = -32022
	codeDenied         = 403 // refused by the gateway for no fault of the message; outside of what JSON-RPC and MCP reserve
)

// rpcError is what a client is told in a JSON-RPC error. Cause is for the log.
type rpcError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    jsontext.Value  `json:"data,omitzero"`
	status  int             // HTTP status; 0 means 200
	scope   string          // that the token lacks: answered as RFC 6750 §3.1 says, and nothing else of this
	login   *policies.Needs // of who is logged in: answered as RFC 9470 §3 says, where there is such a person
	reason  string          // for the audit log
	retry   time.Duration   // after which it may go; 0: not said
	instead jsontext.Value  // a result that the client gets instead, with which it can go on; nil: none
	cause   error
}

func (e *rpcError) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

func (e *rpcError) Unwrap() error { return e.cause }

// Reason is the word for the audit log.
func (e *rpcError) Reason() string { return e.reason }

// errUnknownTool is the one answer for a tool that does not exist, that is not
// approved and that the caller may not see.
func errUnknownTool(reason string) *rpcError {
	return &rpcError{Code: codeInvalidParams, Message: "Unknown tool", reason: reason}
}

func errUnavailable(reason string, cause error) *rpcError {
	return &rpcError{Code: codeInternal, Message: "the call could not be made: " + reason, reason: reason, cause: cause}
}

func errExchange(err error) *rpcError { return errUnavailable(reasonOf(err, "exchange_failed"), err) }

// reasonOf is the word for the audit log that the error has itself, or the other one.
func reasonOf(err error, otherwise string) string {
	var own interface{ Reason() string }
	switch {
	case errors.As(err, &own):
		return own.Reason()
	case errors.Is(err, token.ErrStale):
		return "revocations_stale"
	}
	return otherwise
}

// writeRPC writes a JSON-RPC response.
func writeRPC(w http.ResponseWriter, id jsontext.Value, result jsontext.Value, e *rpcError) {
	status := http.StatusOK
	if e != nil && e.status != 0 {
		status = e.status
	}
	if e != nil && e.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retry.Seconds()))))
	}
	writeBody(w, status, rpcBody(id, result, e))
}

// rpcBody is the response with the result, or with the error where there is one.
func rpcBody(id jsontext.Value, result jsontext.Value, e *rpcError) []byte {
	if id == nil {
		id = jsontext.Value("null")
	}
	if e != nil && e.instead != nil {
		result, e = e.instead, nil
	}
	b := append([]byte(`{"jsonrpc":"2.0","id":`), id...)
	if e == nil {
		return append(append(append(b, `,"result":`...), result...), '}')
	}
	text, err := json.Marshal(e)
	if err != nil {
		text = []byte(`{"code":-32603,"message":"internal error"}`)
	}
	return append(append(append(b, `,"error":`...), text...), '}')
}

// rpcFault is the response with an error that is written already.
func rpcFault(id, fault jsontext.Value) []byte {
	if id == nil {
		id = jsontext.Value("null")
	}
	return append(append(append(append([]byte(`{"jsonrpc":"2.0","id":`), id...), `,"error":`...), fault...), '}')
}

// number is the integer that v is.
func number(v jsontext.Value) (int, bool) {
	n, err := strconv.Atoi(string(v))
	return n, err == nil
}

// writeBody writes a whole JSON body.
func writeBody(w http.ResponseWriter, status int, b []byte) {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = sendsJSON, noStore
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // fails only when the client has gone
}
