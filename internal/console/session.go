package console

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
)

// session is who is signed in at a browser: the access token, which the browser never gets.
type session struct {
	Token string `json:"t"`
}

// signedIn is a session that was looked at just now.
type signedIn struct {
	approver
	name string // of the session, as the cookie has it
}

// cookieName is one that no other host, and no plain http, can have set (RFC 6265bis
// §4.1.3.2).
func (c *Console) cookieName(name string) string {
	if c.secure {
		return "__Host-wicketgate_" + name
	}
	return "wicketgate_" + name
}

// setCookie has the browser keep a value, which comes back with what other sites link to
// (Lax), but not with what they post.
func (c *Console) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: c.cookieName(name), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode})
}

const cookieSession = "console"

// sessionName is the name that the browser has for its session, or "".
func (c *Console) sessionName(r *http.Request) string {
	if k, err := r.Cookie(c.cookieName(cookieSession)); err == nil && len(k.Value) == 26 {
		return k.Value
	}
	return ""
}

// signIn gives the browser a session under a new name, whatever name somebody may have
// planted there before (session fixation), and ends the one that it had.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request, who approver, raw string) error {
	if err := c.signOut(w, r); err != nil {
		return err
	}
	b, err := json.Marshal(session{raw})
	if err != nil {
		return err
	}
	name := rand.Text()
	if err := c.cfg.Sessions.Put(r.Context(), name, c.cfg.Sealer.Seal(b), who.Expiry()); err != nil {
		return err
	}
	c.setCookie(w, cookieSession, name, int(who.Expiry().Sub(c.cfg.Now()).Seconds()))
	return nil
}

// maxSession is longer than any access token lives: so long an ended session stays ended.
const maxSession = 2 * time.Hour

// signOut ends the session, for whoever else may have the cookie too.
func (c *Console) signOut(w http.ResponseWriter, r *http.Request) error {
	name := c.sessionName(r)
	if name == "" {
		return nil
	}
	c.setCookie(w, cookieSession, "", -1)
	return c.cfg.Sessions.End(r.Context(), name, c.cfg.Now().Add(maxSession))
}

// who is signed in at the browser: the token of the session is verified anew, so that what
// was revoked since is refused. It returns ErrNoSession for nobody.
func (c *Console) who(r *http.Request) (signedIn, error) {
	name := c.sessionName(r)
	if name == "" {
		return signedIn{}, ErrNoSession
	}
	sealed, err := c.cfg.Sessions.Get(r.Context(), name)
	if err != nil {
		return signedIn{}, err
	}
	var s session
	if !c.open(sealed, &s) {
		return signedIn{}, ErrNoSession
	}
	who, err := c.admit(r.Context(), s.Token)
	if err != nil && tokenProblem(err) != "" {
		return signedIn{}, errors.Join(ErrNoSession, err)
	}
	return signedIn{who, name}, err
}

func (c *Console) open(sealed []byte, v any) bool {
	plain, ok := c.cfg.Sealer.Open(sealed)
	return ok && json.Unmarshal(plain, v, json.RejectUnknownMembers(true)) == nil
}

// ticket is what a form carries, sealed: the session that it was shown to, so that no other
// site can post it (CSRF), and the request that it is about.
type ticket struct {
	Form    string `json:"f"`
	Session string `json:"s"`
	ID      string `json:"i"`
}

// formTicket is for one form of a session.
func (c *Console) formTicket(s signedIn, id string) (string, error) {
	b, err := json.Marshal(ticket{"approval", s.name, id})
	return base64.RawURLEncoding.EncodeToString(c.cfg.Sealer.Seal(b)), err
}

func (c *Console) isTicket(sent string, s signedIn, id string) bool {
	var t ticket
	b, err := base64.RawURLEncoding.DecodeString(sent)
	return err == nil && c.open(b, &t) && t == ticket{"approval", s.name, id}
}
