package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// commandScheme is that of the URL of a server that is a command, whose transport is in
// this process and says itself what is wrong.
const commandScheme = "stdio"

// Words with which that transport begins what it says: reasons of ours.
var commandReasons = []string{"process_failed", "process_ended", "too_many_processes", "too_many_processes_of_caller", "too_many_open_requests", "shutting_down", "credential_ended"}

type subjectKey struct{}

// SubjectOf tells the Transport of a command for whom a message is: the context of each
// request to it has it.
func SubjectOf(ctx context.Context) string {
	subject, _ := ctx.Value(subjectKey{}).(string)
	return subject
}

// command reports whether the upstream is one.
func (up *upstream) command() bool { return up.url.Scheme == commandScheme }

// full reports whether the answer says that a caller has had enough of a command: that
// shows nothing of how the others fare.
func (up *upstream) full(resp *http.Response) bool {
	return up.command() && resp.StatusCode == http.StatusServiceUnavailable
}

// failure is what an answer that is none means to the client.
func (up *upstream) failure(resp *http.Response) *rpcError {
	if !up.command() {
		return statusError(resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return statusError(resp.StatusCode)
	}
	return up.said(resp.StatusCode, body)
}

func (up *upstream) said(status int, body []byte) *rpcError {
	word, _, _ := bytes.Cut(bytes.TrimSpace(body), []byte(":"))
	if reason := string(word); up.command() && slices.Contains(commandReasons, reason) {
		return errUnavailable(reason, errors.New(up.excerpt(body)))
	}
	if status == http.StatusBadRequest {
		return errUnavailable("upstream_failed", fmt.Errorf("HTTP %d: %s", status, up.excerpt(body)))
	}
	return statusError(status)
}

// excerpt is for the log: what an upstream says may hold anything.
func (up *upstream) excerpt(body []byte) string {
	said := up.echoes.text(string(body)) // whole: half a credential is none to be found
	return truncate(up.Redactor.Text(said[:min(len(said), 1<<10)]))
}
