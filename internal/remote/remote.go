// Package remote is the authorization server of another process, as a gateway has it: it
// exchanges there (RFC 8693), asks what was revoked, and fetches the keys of its tokens.
//
// Whatever goes wrong on the way is an error that says what, in a word for the audit
// log: nothing is taken from an answer that is not exactly what was asked for, no
// redirect is followed, and nothing is tried twice. It does NOT choose whom it speaks to
// (the Transport does: package spiffe has one) nor how it proves who it is, and it holds
// no key.
package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

const (
	timeout   = 5 * time.Second // of a request, with everything
	maxToken  = 64 << 10        // bytes of an answer with a token
	maxAnswer = 4 << 20         // bytes of one with a thousand revocations
)

// Paths of the authorization server, below its URL.
const (
	pathToken       = "/oauth2/token"
	pathRevocations = "/oauth2/revocations"
	pathDefinitions = "/oauth2/definitions"
	pathKeys        = "/oauth2/jwks"
)

// Failure is why there is no answer, or none that is one. Its Reason is one of these words.
type Failure struct {
	reason string
	cause  error
}

// The words, for the audit log.
const (
	Unreachable = "exchange_unreachable" // nobody answered, or the way there is not to be had
	Timeout     = "exchange_timeout"     // nor in time
	Untrusted   = "exchange_untrusted"   // who answered did not prove to be the authorization server
	Malformed   = "exchange_malformed"   // what was answered is not what was asked for
	Refused     = "exchange_refused"     // the authorization server said no
)

func (e *Failure) Error() string { return "authorization server: " + e.cause.Error() }
func (e *Failure) Unwrap() error { return e.cause }

// Reason is for the audit log.
func (e *Failure) Reason() string { return e.reason }

// Config is where an authorization server is, and who asks.
type Config struct {
	URL       string            // without trailing slash
	Transport http.RoundTripper // proves who asks, and who answers

	// ClientID is ours. It fails while there is none.
	ClientID func() (identity.ClientID, error)

	// Assertion is a new one (RFC 7523 §2.2), with which each request proves the ClientID;
	// nil: the Transport proves it.
	Assertion func() (string, error)

	Now func() time.Time
}

// Server is an authorization server elsewhere. It is safe for concurrent use.
type Server struct {
	cfg  Config
	http *http.Client

	mu     sync.Mutex // guards failed
	failed error      // why revocations could not be read last; nil: they could
}

var _ revocation.Reader = (*Server)(nil)

// New makes a Server. Nobody is asked anything yet.
func New(cfg Config) *Server {
	return &Server{cfg: cfg, http: client(cfg.Transport), failed: errors.New("it was not asked anything yet")}
}

func client(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Keys are those that its tokens are signed with.
func (s *Server) Keys() *Keys { return NewKeys(s.cfg.URL+pathKeys, s.cfg.Transport, s.cfg.Now) }

// State is nil if it answered when it was last asked what was revoked, as it is every
// second.
func (s *Server) State() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Revocations implements revocation.Reader.
func (s *Server) Revocations(ctx context.Context, after int64) ([]revocation.Entry, error) {
	all, err := s.revocations(ctx, after)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	return all, err
}

func (s *Server) revocations(ctx context.Context, after int64) ([]revocation.Entry, error) {
	var answer struct {
		Entries *[]revocation.Entry `json:"entries"`
	}
	form := url.Values{"after": {fmt.Sprint(after)}}
	if err := s.post(ctx, pathRevocations, form, maxAnswer, &answer); err != nil {
		return nil, err
	}
	if answer.Entries == nil {
		return nil, malformed("%s has no entries", pathRevocations)
	}
	for last, all := after, *answer.Entries; len(all) > 0; last, all = all[0].Seq, all[1:] {
		if all[0].Seq <= last { // a view that goes on from there would miss some, or never end
			return nil, malformed("%s is out of order", pathRevocations)
		}
	}
	return *answer.Entries, nil
}

// Learn tells the digest of an approved tool definition, for who exchanges there to a tool
// token, and returns the digest that counts there.
func (s *Server) Learn(ctx context.Context, server, tool, digest string) (string, error) {
	var answer struct {
		Digest string `json:"digest"`
	}
	err := s.post(ctx, pathDefinitions, url.Values{"server": {server}, "tool": {tool}, "digest": {digest}}, maxToken, &answer)
	if err == nil && answer.Digest == "" {
		err = malformed("%s has no digest", pathDefinitions)
	}
	return answer.Digest, err
}

// post sends a form as our client, and reads a JSON object into answer.
func (s *Server) post(ctx context.Context, path string, form url.Values, limit int64, answer any) error {
	id, err := s.cfg.ClientID()
	if err != nil {
		return &Failure{Unreachable, err}
	}
	form.Set("client_id", id.String())
	if s.cfg.Assertion != nil {
		assertion, err := s.cfg.Assertion()
		if err != nil {
			return &Failure{Unreachable, fmt.Errorf("make client assertion: %w", err)}
		}
		form.Set("client_assertion_type", oauth.AssertionJWTBearer)
		form.Set("client_assertion", assertion)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return &Failure{Unreachable, err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return unanswered(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return unanswered(fmt.Errorf("%s: %w", path, err))
	}
	if int64(len(body)) > limit {
		return malformed("%s is longer than %d bytes", path, limit)
	}
	return read(path, resp, body, answer)
}

// read does not say what it could not read: that may be a token.
func read(path string, resp *http.Response, body []byte, answer any) error {
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return malformed("%s answered %d without JSON", path, resp.StatusCode)
	}
	if resp.StatusCode != http.StatusOK {
		var e oauth.Error
		if json.Unmarshal(body, &e) != nil || e.Code == "" {
			return malformed("%s answered %d and no OAuth error", path, resp.StatusCode)
		}
		return &Failure{Refused, fmt.Errorf("%s answered %d: %q: %q", path, resp.StatusCode, e.Code, e.Description)}
	}
	if json.Unmarshal(body, answer) != nil {
		return malformed("%s answered 200 with another JSON than it should", path)
	}
	return nil
}

func malformed(format string, args ...any) error {
	return &Failure{Malformed, fmt.Errorf(format, args...)}
}

// unanswered tells apart why there was no answer.
func unanswered(err error) error {
	var webPKI *tls.CertificateVerificationError
	var workload interface{ Untrusted() bool } // of package spiffe
	var slow net.Error
	switch {
	case errors.As(err, &webPKI), errors.As(err, &workload):
		return &Failure{Untrusted, err}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return &Failure{Timeout, err}
	}
	return &Failure{Unreachable, err}
}
