package authz

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// pendingLifetime is how long a login or consent page may stay open.
const pendingLifetime = 15 * time.Minute

// login is the login session, sealed in a cookie.
type login struct {
	Subject identity.Subject `json:"sub"`
	At      int64            `json:"at"` // Unix seconds
	Browser string           `json:"b"`  // the browser cookie it belongs to
}

func (l login) time() time.Time { return time.Unix(l.At, 0) }

// pendingRequest is what the hidden field of a page carries, sealed: the request,
// the browser that it was shown to, so that no other site can post it (CSRF), and
// whom the consent page was shown to, so that nobody else consents by it.
type pendingRequest struct {
	Query   string           `json:"q"`
	Browser string           `json:"b"`
	Subject identity.Subject `json:"s,omitzero"` // none on the login page
	Expires int64            `json:"e"`
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
func (s *Server) knownBrowser(r *http.Request) string {
	if c, err := r.Cookie(s.cookieName("browser")); err == nil && len(c.Value) == 26 {
		return c.Value
	}
	return ""
}

func (s *Server) seal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // opens as nothing
	}
	return base64.RawURLEncoding.EncodeToString(s.cfg.Sealer.Seal(b))
}

func (s *Server) open(sealed string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return false
	}
	plain, ok := s.cfg.Sealer.Open(b)
	return ok && json.Unmarshal(plain, v, json.RejectUnknownMembers(true)) == nil
}

func (s *Server) setSession(w http.ResponseWriter, l login) {
	if l.Subject.IsZero() {
		s.setCookie(w, "session", "", -1)
		return
	}
	s.setCookie(w, "session", s.seal(l), int(s.cfg.LoginLifetime.Seconds()))
}

// session returns who is logged in at this browser.
func (s *Server) session(r *http.Request, browser string) (login, bool) {
	c, err := r.Cookie(s.cookieName("session"))
	if err != nil {
		return login{}, false
	}
	var l login
	ok := s.open(c.Value, &l) && l.Browser == browser && !l.Subject.IsZero() && s.cfg.Now().Sub(l.time()) < s.cfg.LoginLifetime
	return l, ok
}

// pending reads the posted page's request back and checks it anew.
func (s *Server) pending(r *http.Request, browser string) (*authorizeRequest, error) {
	form, err := parseForm(r)
	if err != nil {
		return nil, err
	}
	var p pendingRequest
	if !s.open(form.Get("request"), &p) || p.Browser != browser || s.cfg.Now().Unix() >= p.Expires {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "this page is too old or belongs to another browser: go back to the application and connect again"}
	}
	q, err := url.ParseQuery(p.Query)
	if err != nil {
		return nil, err
	}
	req, err := s.parseAuthorize(r.Context(), q)
	if err != nil {
		return nil, err
	}
	req.shownTo = p.Subject
	return req, nil
}

// sealPending is for a page that is shown to the subject, who is nobody on the login page.
func (s *Server) sealPending(req *authorizeRequest, browser string, subject identity.Subject) string {
	return s.seal(pendingRequest{Query: req.query.Encode(), Browser: browser, Subject: subject, Expires: s.cfg.Now().Add(pendingLifetime).Unix()})
}
