package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
)

// credentialMethods are those that a legacy server does something for, as somebody.
var credentialMethods = []string{"tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"}

// lender obtains the credentials with which one server is called. A nil one is that of a
// server that takes call tokens.
type lender struct {
	from   CredentialSource
	all    bool // every message has one
	local  bool // the server is a command: ending its process needs none
	ticks  Ticks
	echoes echoes
}

func newLender(from CredentialSource, all bool, ticks Ticks) *lender {
	if from == nil {
		return nil
	}
	return &lender{from: from, all: all, ticks: ticks}
}

// known is what the server must not say back.
func (l *lender) known() *echoes {
	if l == nil {
		return nil
	}
	return &l.echoes
}

// wants reports whether a message of that method has a credential.
func (l *lender) wants(method string) bool {
	if l == nil || l.local && method == http.MethodDelete {
		return false
	}
	return l.all || slices.Contains(credentialMethods, method)
}

// lend obtains one. While it is in use, may says each second whether it may be.
func (l *lender) lend(ctx context.Context, r credential.Request, may func() *rpcError) (*lent, *rpcError) {
	c, err := l.from.Obtain(ctx, r)
	if err == nil && c == nil {
		err = errors.New("nothing was obtained")
	}
	if err != nil {
		return nil, errCredential(err)
	}
	over, cut := context.WithCancelCause(context.Background())
	in := &lent{credential: c, lender: l, users: 1, over: over, cut: cut}
	l.echoes.begin(c.Secrets())
	tick, stop := l.ticks(beat)
	in.watching.Go(func() {
		defer stop()
		in.watch(tick, may)
	})
	return in, nil
}

// carries holds a message to what a server that gets no tokens is sent: with a credential
// of its own where it needs one, and never with another server's.
func (l *lender) carries(ctx context.Context, method string) error {
	in := lentOf(ctx)
	switch {
	case in == nil && l.wants(method), in == nil && credential.From(ctx) != nil, in != nil && in.lender != l:
		return errUnavailable("credential_missing", errors.New("a message without the credential that it needs"))
	}
	return nil
}

// errWantsAll is for the log: what to do about a server that refuses what has no credential.
var errWantsAll = errors.New("the server refused a message that is sent without a credential: if it wants its key with every message, set `messages: all` below its `vault:`")

// refused reports whether the server wanted a credential with a message that has none.
func (l *lender) refused(in *lent, status int) bool {
	return l != nil && in == nil && (status == http.StatusUnauthorized || status == http.StatusForbidden)
}

// errCredential is why there is no credential: in the words that whoever obtains them has
// for callers.
func errCredential(err error) *rpcError {
	var own interface{ Reason() string }
	if e := errOver(err); e != nil && !errors.As(err, &own) {
		return e
	}
	e := errUnavailable(reasonOf(err, "credential_unavailable"), err)
	var advises interface{ Advice() string }
	if errors.As(err, &advises) {
		e.Message += ": " + advises.Advice()
	}
	return e
}

// errCredentialEnded is what a call is cut with whose credential is good no more.
var errCredentialEnded = &rpcError{Code: codeInternal, Message: "the call was ended with its credential: try again", reason: "credential_ended"}

// lent is a credential in use: by a message, and by what the message began. It ends with
// the last of them, once. A nil one is none.
type lent struct {
	credential *credential.Credential
	lender     *lender

	over     context.Context // done when it may be used no more
	cut      context.CancelCauseFunc
	watching sync.WaitGroup

	mu    sync.Mutex // guards users
	users int
}

// watch ends what lives by the credential when that is no longer good, when the server is
// frozen, and when the caller is revoked.
func (in *lent) watch(tick <-chan time.Time, may func() *rpcError) {
	for {
		select {
		case <-in.credential.Done():
			in.cut(errCredentialEnded)
			return
		case <-tick:
			if e := may(); e != nil {
				in.cut(e)
				return
			}
		case <-in.over.Done():
			return
		}
	}
}

// hold has one more use it, unless it has ended: then it is too late.
func (in *lent) hold() bool {
	if in == nil {
		return true
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.users == 0 {
		return false
	}
	in.users++
	return true
}

// end is called once by each who uses it.
func (in *lent) end() {
	if in == nil {
		return
	}
	in.mu.Lock()
	in.users--
	last := in.users == 0
	in.mu.Unlock()
	if !last {
		return
	}
	in.cut(nil)
	in.watching.Wait()
	in.credential.End()
	in.lender.echoes.end(in.credential.Secrets(), in.credential.Lasts)
}

// why is the reason for which a call failed that was cut, and otherwise the other one.
func (in *lent) why(failure *rpcError) *rpcError {
	var cut *rpcError
	if in != nil && failure != nil && errors.As(context.Cause(in.over), &cut) {
		return cut
	}
	return failure
}

// lease is its name for the audit log.
func (in *lent) lease() string {
	if in == nil {
		return ""
	}
	return in.credential.Lease
}

type lentKey struct{}

// lentOf is the credential that what ctx reaches is called with; nil: none.
func lentOf(ctx context.Context) *lent {
	in, _ := ctx.Value(lentKey{}).(*lent)
	return in
}

// in is ctx with the credential, with which it ends.
func (in *lent) in(ctx context.Context) context.Context {
	if in == nil {
		return ctx
	}
	return in.within(context.WithValue(credential.With(ctx, in.credential), lentKey{}, in))
}

// within is ctx, which ends with the credential too.
func (in *lent) within(ctx context.Context) context.Context {
	if in == nil {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(in.over, func() { cancel(context.Cause(in.over)) })
	return ctx
}
