package authz

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// pendingLifetime is how long a login or consent page may stay open.
const pendingLifetime = 15 * time.Minute

// login is who is logged in at a browser. The cookie has a random name for it; the
// store has it sealed.
type login struct {
	Person
	At      time.Time // when the person logged in here
	For     string    // the key of the request that it was for
	Browser string    // the browser cookie it belongs to
}

// pendingRequest is what the hidden field of a page carries, sealed: the request,
// the browser that it was shown to, so that no other site can post it (CSRF), and
// whom the consent page was shown to, so that nobody else consents by it.
type pendingRequest struct {
	ID       string           `json:"i"` // one page, one answer
	Query    string           `json:"q"`
	UserCode string           `json:"u"` // a device code's; then Query is what login it asks for
	Browser  string           `json:"b"`
	Subject  identity.Subject `json:"s,omitzero"` // none on the login page
	Document string           `json:"d"`          // Digest of the client that the page showed
	Key      string           `json:"k"`          // authorizeRequest.key
	Began    int64            `json:"t"`          // Unix microseconds
	Expires  int64            `json:"e"`          // Unix seconds
}

func (s *Server) cookieName(name string) string {
	if s.secure {
		return "__Host-wicketgate_" + name
	}
	return "wicketgate_" + name
}

func (s *Server) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: s.cookieName(name), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode})
}

// cookie returns the value of a cookie of ours, or "".
func (s *Server) cookie(r *http.Request, name string) string {
	if c, err := r.Cookie(s.cookieName(name)); err == nil && len(c.Value) == 26 {
		return c.Value
	}
	return ""
}

// browser returns the random name of this browser, giving it one if need be.
func (s *Server) browser(w http.ResponseWriter, r *http.Request) string {
	if b := s.knownBrowser(r); b != "" {
		return b
	}
	b := rand.Text()
	s.setCookie(w, "browser", b, 0)
	return b
}

// knownBrowser is the name that the browser has, or "".
func (s *Server) knownBrowser(r *http.Request) string { return s.cookie(r, "browser") }

func (s *Server) seal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return s.cfg.Sealer.Seal(b), nil
}

func (s *Server) open(sealed []byte, v any) bool {
	plain, ok := s.cfg.Sealer.Open(sealed)
	return ok && json.Unmarshal(plain, v, json.RejectUnknownMembers(true)) == nil
}

// sessionKey is where the store has the session that a cookie names.
func sessionKey(cookie string) []byte { return TicketKey("session", cookie) }

// endedKey is a ticket that ends a session before its time.
func endedKey(cookie string) []byte { return TicketKey("signed out", cookie) }

// setSession gives the browser a session under a new name, whatever name somebody
// may have planted there before (session fixation).
func (s *Server) setSession(ctx context.Context, w http.ResponseWriter, l login) error {
	name := rand.Text()
	sealed, err := s.seal(l)
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	if err := s.cfg.Store.InsertTicket(ctx, TicketSession, sessionKey(name), sealed, now, now.Add(s.cfg.LoginLifetime)); err != nil {
		return err
	}
	s.setCookie(w, "session", name, int(s.cfg.LoginLifetime.Seconds()))
	return nil
}

// endSession signs the person out, for whoever else may have the cookie too.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	name := s.cookie(r, "session")
	if name == "" {
		return nil
	}
	s.setCookie(w, "session", "", -1)
	now := s.cfg.Now()
	err := s.cfg.Store.InsertTicket(r.Context(), TicketAnswer, endedKey(name), nil, now, now.Add(s.cfg.LoginLifetime))
	if errors.Is(err, ErrExists) {
		return nil
	}
	return err
}

// session returns who is logged in at this browser: nobody, if the store cannot say.
func (s *Server) session(r *http.Request, browser string) (login, bool) {
	name := s.cookie(r, "session")
	if name == "" || browser == "" {
		return login{}, false
	}
	sealed, err := s.cfg.Store.Ticket(r.Context(), TicketSession, sessionKey(name), s.cfg.Now())
	if err == nil {
		_, err = s.cfg.Store.Ticket(r.Context(), TicketAnswer, endedKey(name), s.cfg.Now())
		if err == nil {
			return login{}, false // signed out
		}
	}
	if !errors.Is(err, ErrNotFound) {
		s.cfg.Log.ErrorContext(r.Context(), "read session", "error", err)
		return login{}, false
	}
	var l login
	ok := sealed != nil && s.open(sealed, &l) && l.Browser == browser && !l.Subject.IsZero() && s.cfg.Now().Sub(l.At) < s.cfg.LoginLifetime
	return l, ok
}

// pending reads a page's request back and checks it anew.
func (s *Server) pending(r *http.Request, sealed, browser string) (*authorizeRequest, error) {
	var p pendingRequest
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || !s.open(b, &p) || p.Browser != browser || s.cfg.Now().Unix() >= p.Expires {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "this page is too old or belongs to another browser: go back to the application and connect again"}
	}
	req, err := s.again(r.Context(), p)
	if err != nil {
		return nil, err
	}
	req.id, req.shownTo, req.shown, req.key, req.began = p.ID, p.Subject, p.Document, p.Key, time.UnixMicro(p.Began)
	return req, nil
}

// posted reads a page's form, with the request that it is for and the browser.
func (s *Server) posted(w http.ResponseWriter, r *http.Request) (form url.Values, req *authorizeRequest, browser string, err error) {
	if form, err = parseForm(r); err != nil {
		return nil, nil, "", err
	}
	browser = s.browser(w, r)
	req, err = s.pending(r, form.Get("request"), browser)
	return form, req, browser, err
}

// again checks a pending request anew: much may have changed since.
func (s *Server) again(ctx context.Context, p pendingRequest) (*authorizeRequest, error) {
	q, err := url.ParseQuery(p.Query)
	if err != nil {
		return nil, err
	}
	if p.UserCode != "" {
		req, err := s.deviceRequest(ctx, p.UserCode)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "this code is too old or was answered before: look at the device"}
		case err != nil:
			return nil, err
		}
		return req, req.wants(q)
	}
	return s.parseAuthorize(ctx, q)
}

// sealPending is for a page that is shown to the subject, who is nobody on the login page.
func (s *Server) sealPending(req *authorizeRequest, browser string, subject identity.Subject) (string, error) {
	b, err := s.seal(pendingRequest{ID: rand.Text(), Query: req.query.Encode(), UserCode: req.userCode, Browser: browser, Subject: subject, Document: req.client.Digest, Key: req.key, Began: req.began.UnixMicro(),
		Expires: s.cfg.Now().Add(pendingLifetime).Unix()})
	return base64.RawURLEncoding.EncodeToString(b), err
}

// sealBrowser is for a form that belongs to no request yet: only the browser that
// it was shown to can post it (CSRF).
func (s *Server) sealBrowser(browser string) string {
	b, err := s.seal(pendingRequest{Browser: browser, Expires: s.cfg.Now().Add(pendingLifetime).Unix()})
	if err != nil {
		return "" // opens as nothing
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (s *Server) isBrowser(sealed, browser string) bool {
	var p pendingRequest
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	return err == nil && s.open(b, &p) && p.Browser == browser && p.Query == "" && p.UserCode == "" && s.cfg.Now().Unix() < p.Expires
}
