package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// IdentityProvider is where people log in. It checks iss, nonce, aud, signature and
// expiry of what it is told.
type IdentityProvider interface {
	// Begin returns where to send the browser for one login.
	Begin(ctx context.Context, l LoginRequest) (string, error)
	// Finish redeems what the browser brought back. It returns an *oauth.Error for what
	// the person can be told.
	Finish(ctx context.Context, params url.Values, l LoginRequest) (Person, error)
}

// LoginRequest is one login under way.
type LoginRequest struct {
	State, Nonce string
	Verifier     string        // PKCE code_verifier
	Prompt       string        // passed on where not empty, as the two below
	LoginHint    string        // OpenID Connect Core 1.0 §3.1.2.1
	ACRValues    string        // RFC 9470 §4
	MaxAge       time.Duration `json:"-"` // of the login itself, if HasMaxAge
	HasMaxAge    bool
}

// Person is who logged in, as the IdP says.
type Person struct {
	Subject  identity.Subject
	Groups   []string
	Claims   map[string]any // those that the configuration keeps: string, number, bool or list of strings
	AuthTime time.Time
	ACR      string
}

// loginState is a login under way at the IdP, sealed in the store under its state.
type loginState struct {
	Request LoginRequest
	MaxAge  int64  // of Request, nanoseconds: a Duration has no JSON of its own
	Browser string // that began it
	Pending string // the authorization request that it is for, sealed
}

// beginLogin has the person log in: at the IdP, or in development by a click.
func (s *Server) beginLogin(w http.ResponseWriter, r *http.Request, req *authorizeRequest, b string) error {
	if s.cfg.Login == nil {
		return s.showLogin(w, r, req, b)
	}
	pending, err := s.sealPending(req, b, identity.Subject{})
	if err != nil {
		return err
	}
	// Only what asks for more is passed on: none cannot come here, and consent is ours.
	prompt := slices.DeleteFunc(slices.Clone(req.prompt), func(p string) bool { return p != "login" && p != "select_account" })
	l := LoginRequest{State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), Prompt: strings.Join(prompt, " "),
		LoginHint: req.query.Get("login_hint"), ACRValues: strings.Join(req.acr, " "), MaxAge: req.maxAge, HasMaxAge: req.hasMaxAge}
	to, err := s.cfg.Login.Begin(r.Context(), l)
	if err != nil {
		return err
	}
	value, err := s.seal(loginState{l, int64(l.MaxAge), b, pending})
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	if err := s.cfg.Store.InsertTicket(r.Context(), TicketLogin, TicketKey(l.State), value, now, now.Add(pendingLifetime)); err != nil {
		return err
	}
	seeOther(w, r, to)
	return nil
}

// callback is where the IdP sends people back to. Only the browser that began the
// login can finish it, once: else somebody could log others in as himself.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) error {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || s.cfg.Login == nil || slices.ContainsFunc(values(params), func(v []string) bool { return len(v) > 1 }) {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "this is no answer to a login", Cause: err}
	}
	b := s.knownBrowser(r)
	l, err := s.loginUnderWay(r.Context(), params.Get("state"), b)
	if err != nil {
		return err
	}
	req, err := s.pending(r, l.Pending, b)
	if err != nil {
		return err
	}
	person, err := s.cfg.Login.Finish(r.Context(), params, l.Request)
	if err != nil {
		if wire := web.Wire(err); wire.Code == oauth.AccessDenied || wire.Code == oauth.UnmetAuthenticationRequirements {
			return &redirectError{req, wire}
		}
		return err
	}
	return s.loggedIn(w, r, req, b, person)
}

func values(v url.Values) [][]string {
	var out [][]string
	for _, list := range v {
		out = append(out, list)
	}
	return out
}

func (s *Server) loginUnderWay(ctx context.Context, state, browser string) (loginState, error) {
	old := &oauth.Error{Code: oauth.InvalidRequest, Description: "this login is too old, was finished before or began in another browser: go back to the application and connect again"}
	value, err := s.cfg.Store.Ticket(ctx, TicketLogin, TicketKey(state), s.cfg.Now())
	if errors.Is(err, ErrNotFound) {
		return loginState{}, old
	} else if err != nil {
		return loginState{}, err
	}
	var l loginState
	if !s.open(value, &l) || browser == "" || l.Browser != browser || l.Request.State != state {
		return loginState{}, old
	}
	l.Request.MaxAge = time.Duration(l.MaxAge)
	if _, err := s.cfg.Store.TakeTicket(ctx, TicketLogin, TicketKey(state), s.cfg.Now()); errors.Is(err, ErrSpent) || errors.Is(err, ErrNotFound) {
		return loginState{}, old
	} else if err != nil {
		return loginState{}, err
	}
	return l, nil
}

// login takes the person that was picked on the login page. It proves nothing,
// which is why only InsecureUsers can be picked.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	form, req, b, err := s.posted(w, r)
	if err != nil {
		return err
	}
	subject, err := identity.ParseSubject(form.Get("user"))
	if err != nil || !slices.Contains(s.cfg.InsecureUsers, subject) {
		return &oauth.Error{Code: oauth.AccessDenied, Description: "there is no such user"}
	}
	return s.loggedIn(w, r, req, b, Person{Subject: subject, AuthTime: s.cfg.Now()})
}

// switchPerson signs out, and has somebody else log in for the request. It is a link
// of the consent page that nobody else can make.
func (s *Server) switchPerson(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	b := s.browser(w, r)
	req, err := s.pending(r, q.Get("request"), b)
	if err != nil {
		return err
	}
	if err := s.endSession(w, r); err != nil {
		return err
	}
	req.prompt = []string{"select_account"}
	if req.device == nil {
		req.query.Set("prompt", "select_account")
	}
	s.begin(req)
	return s.beginLogin(w, r, req, b)
}

// loggedIn begins a session and goes on with the request.
func (s *Server) loggedIn(w http.ResponseWriter, r *http.Request, req *authorizeRequest, b string, p Person) error {
	if err := s.notAClient(r.Context(), p.Subject); err != nil {
		return err
	}
	if err := token.CheckAttributes(p.Groups, p.Claims, p.ACR); err != nil { // no token could say it
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "your organisation says more of you than fits into a token: have the operator keep fewer claims, or the IdP send fewer groups", Cause: err}
	}
	e := audit.Event{Kind: audit.Login, Subject: p.Subject.String(), Client: req.client.ID.String(), Source: web.Source(r), Decision: "allow"}
	if err := s.record(r.Context(), e); err != nil {
		return err
	}
	if err := s.endSession(w, r); err != nil {
		return err
	}
	if err := s.setSession(r.Context(), w, login{Person: p, At: s.cfg.Now(), For: req.key, Browser: b}); err != nil {
		return err
	}
	return s.resume(w, r, req, b)
}

// resume sends the browser to a page that goes on with the request, and that can
// be loaded again.
func (s *Server) resume(w http.ResponseWriter, r *http.Request, req *authorizeRequest, b string) error {
	sealed, err := s.sealPending(req, b, identity.Subject{})
	if err != nil {
		return err
	}
	seeOther(w, r, pathConsent+"?request="+sealed)
	return nil
}

// resumed is that page.
func (s *Server) resumed(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	b := s.browser(w, r)
	req, err := s.pending(r, q.Get("request"), b)
	if err != nil {
		return err
	}
	return s.proceed(w, r, req, b)
}

// notAClient refuses a person whose name is a client's, or one that only another issuer
// gives: policy could not tell them apart.
func (s *Server) notAClient(ctx context.Context, subject identity.Subject) error {
	if s.cfg.Federation != nil && s.cfg.Federation.Owns(subject.String()) {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "this user has the name of somebody of another issuer and cannot log in"}
	}
	id, err := identity.ParseClientID(subject.String())
	if err != nil {
		return nil
	}
	client, err := s.IsClient(ctx, id)
	if client {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "this user has the name of a client and cannot log in"}
	}
	return err
}

// IsClient reports whether a client has that id: nobody who is none gets its name.
func (s *Server) IsClient(ctx context.Context, id identity.ClientID) (bool, error) {
	_, err := s.find(ctx, id, "")
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// claimsOf is what an authorization keeps of a person.
func claimsOf(p Person) ([]byte, error) {
	if len(p.Groups) == 0 && len(p.Claims) == 0 {
		return nil, nil
	}
	return json.Marshal(personClaims{p.Groups, p.Claims}, json.Deterministic(true))
}

type personClaims struct {
	Groups []string       `json:"groups,omitempty"`
	Claims map[string]any `json:"claims,omitempty"`
}
