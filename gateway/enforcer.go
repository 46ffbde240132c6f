package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// CallVerifier checks call tokens. *token.Verifier is one.
type CallVerifier interface {
	ParseCall(ctx context.Context, raw, audience string) (token.Call, error)
}

// EnforcerConfig is all that an Enforcer needs; every field is required unless it says
// otherwise.
type EnforcerConfig struct {
	Resource oauth.Resource // aud of the tokens that it takes, and its own URL
	URL      string         // where the server listens
	Verifier CallVerifier
	Single   Single // spends call tokens

	// Since is when Single began to remember: a token that counts once and may have been
	// issued before that is refused. Zero where Single outlives the process.
	Since time.Time

	Audit     audit.Recorder
	Refusals  Refusals
	Transport http.RoundTripper // to the server

	// Credentials are what the server is called with, and CredentialForAll as for an
	// Upstream; nil: it is called with nothing.
	Credentials      CredentialSource
	CredentialForAll bool

	Redactor *redact.Redactor // looks at what the server answers; nil: nothing is redacted

	Log *slog.Logger
	Now func() time.Time
}

// Enforcer is the PEP of one server, which stands beside it and takes nothing but call
// tokens: the token is the decision, and the message must be the one that it is for.
// Nobody reaches the server around the gateway, also if the server looks at no token.
//
// It does NOT decide, exchange or translate, and it knows no revocation: what it takes
// lives for 60 seconds. It is safe for concurrent use.
type Enforcer struct {
	cfg   EnforcerConfig
	path  string // of the resource
	tools definitions

	lender *lender // nil: the server is called with nothing
	echoes *echoes // nil unless there is a lender
}

// NewEnforcer makes an Enforcer.
func NewEnforcer(cfg EnforcerConfig) (*Enforcer, error) {
	u, err := url.Parse(cfg.Resource.String())
	if err != nil {
		return nil, err
	}
	l := newLender(cfg.Credentials, cfg.CredentialForAll, realTicks)
	return &Enforcer{cfg: cfg, path: orRoot(u.EscapedPath()), tools: definitions{now: cfg.Now}, lender: l, echoes: l.known()}, nil
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// Register adds the resource to mux, and an answer for every other path. sameSite refuses
// pages.
func (e *Enforcer) Register(mux *http.ServeMux, sameSite func(http.Handler) http.Handler) {
	mux.Handle("/", sameSite(web.LimitBody(maxRequest, http.HandlerFunc(e.serve))))
}

// serve admits the caller and hands over by method.
func (e *Enforcer) serve(w http.ResponseWriter, r *http.Request) {
	if orRoot(r.URL.EscapedPath()) != e.path {
		_ = web.WriteJSON(w, http.StatusNotFound, &oauth.Error{Code: oauth.InvalidRequest, Description: "there is nothing here"})
		return
	}
	call, err := e.admit(r)
	if err != nil {
		e.challenge(w, r, err)
		return
	}
	h := newHop(e, w, r, call)
	switch r.Method {
	case http.MethodPost:
		h.post()
	case http.MethodGet:
		h.listen()
	case http.MethodDelete:
		h.end()
	default:
		notAllowed(w)
	}
}

// admit is step 1: a call token of the issuer's for exactly this resource.
func (e *Enforcer) admit(r *http.Request) (token.Call, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return token.Call{}, errNoToken
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return token.Call{}, token.ErrMalformed
	}
	return e.cfg.Verifier.ParseCall(r.Context(), raw, e.cfg.Resource.String())
}

// challenge answers who was not admitted. Where the issuer's keys are not to be had, the
// token may be good.
func (e *Enforcer) challenge(w http.ResponseWriter, r *http.Request, err error) {
	reason := tokenReason(err)
	ev := audit.Event{Kind: audit.Refusal, Action: "admit", Decision: audit.Deny, Reason: reason, Source: web.Source(r), RequestID: web.RequestID(r.Context())}
	if err := e.cfg.Refusals.Refuse(r.Context(), ev); err != nil {
		e.cfg.Log.ErrorContext(r.Context(), "record refusal", "error", err)
	}
	if reason == keysUnavailable {
		e.cfg.Log.ErrorContext(r.Context(), "verify token", "request_id", ev.RequestID, "error", err)
		w.Header().Set("Retry-After", "1")
		_ = web.WriteJSON(w, http.StatusServiceUnavailable, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "whether the token is good is not known here at the moment: try again soon"})
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", resource_metadata="`+e.metadataURL()+`"`)
	_ = web.WriteJSON(w, http.StatusUnauthorized, &oauth.Error{Code: oauth.InvalidToken, Description: "a call token for this resource is needed: call the gateway"})
}

// metadataURL is where the metadata of the resource is (RFC 9728 §3.1).
func (e *Enforcer) metadataURL() string {
	origin := strings.TrimSuffix(e.cfg.Resource.String(), e.path)
	return origin + "/.well-known/oauth-protected-resource" + strings.TrimSuffix(e.path, "/")
}
