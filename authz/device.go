package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

const (
	devicePrefix   = "wg_dc_"
	deviceLifetime = 10 * time.Minute
	deviceInterval = 5 * time.Second // between polls

	// Letters that nobody mixes up and that spell no word (RFC 8628 §6.1): eight of
	// them have 34 bits.
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
)

// deviceResponse is the response of RFC 8628 §3.2.
type deviceResponse struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	Complete        string `json:"verification_uri_complete"`
	ExpiresIn       int64  `json:"expires_in"` // seconds
	Interval        int64  `json:"interval"`   // seconds
}

// deviceAuthorization is the device authorization endpoint (RFC 8628 §3.1).
func (s *Server) deviceAuthorization(w http.ResponseWriter, r *http.Request) error {
	client, form, err := s.authenticated(r, "device_authorization")
	if err != nil {
		return err
	}
	resp, err := s.newDeviceCode(r.Context(), client, form)
	if err != nil {
		return s.denied(r, client, "device_authorization", err)
	}
	return web.WriteJSON(w, http.StatusOK, resp)
}

func (s *Server) newDeviceCode(ctx context.Context, c Client, form url.Values) (deviceResponse, error) {
	if !c.May(oauth.GrantDeviceCode) {
		return deviceResponse{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "the client did not register for the device grant"}
	}
	resource, err := s.cfg.Resources.OneFor(c.ID.String(), form["resource"])
	if err != nil {
		return deviceResponse{}, err
	}
	scope, err := s.grantedScope(form.Get("scope"), c, resource)
	if err != nil {
		return deviceResponse{}, err
	}
	now := s.cfg.Now()
	code := newSecret(devicePrefix)
	d := DeviceCode{Hash: hash(code), ClientID: c.ID, Resource: resource.String(), Scope: scope.String(), Document: c.Digest, Created: now, Expires: now.Add(deviceLifetime)}
	var userCode string
	for range 3 { // a user code may be taken
		if userCode, err = newUserCode(); err != nil {
			return deviceResponse{}, err
		}
		d.UserHash = hash(userCode)
		if err = s.cfg.Store.InsertDeviceCode(ctx, d); !errors.Is(err, ErrExists) {
			break
		}
	}
	at := s.cfg.Issuer + PathDevice
	return deviceResponse{code, userCode, at, at + "?user_code=" + userCode, int64(deviceLifetime.Seconds()), int64(deviceInterval.Seconds())}, err
}

func newUserCode() (string, error) {
	var b strings.Builder
	for i := range 8 {
		if i == 4 {
			b.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(userCodeLetters))))
		if err != nil {
			return "", err
		}
		b.WriteByte(userCodeLetters[n.Int64()])
	}
	return b.String(), nil
}

// parseUserCode takes a code as people type it: in any case, and with whatever
// they put between the letters (RFC 8628 §6.1).
func parseUserCode(s string) (string, bool) {
	letters := strings.Map(func(r rune) rune {
		if unicode.IsPunct(r) || unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToUpper(s))
	if len(letters) != 8 || strings.Trim(letters, userCodeLetters) != "" {
		return "", false
	}
	return letters[:4] + "-" + letters[4:], true
}

// device is the page where a person enters the code that the device shows. A code
// in the URL is filled in, and still asked about (RFC 8628 §3.3.1).
func (s *Server) device(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	code, _ := parseUserCode(q.Get("user_code"))
	return s.showDevice(w, http.StatusOK, deviceForm{Sealed: s.sealBrowser(s.browser(w, r)), Code: code, Login: loginWanted(q)})
}

// loginWanted is what login a device asks for by the link that it shows (RFC 9470 §4; RFC
// 8628 has no place for it). Whoever changes it has only themselves to fool: the resource
// server looks at what the token says.
func loginWanted(from url.Values) url.Values {
	wanted := url.Values{}
	for _, name := range []string{"acr_values", "max_age"} {
		if v := from.Get(name); v != "" && len(v) <= maxWanted {
			wanted.Set(name, v)
		}
	}
	return wanted
}

const maxWanted = 1024 // bytes

// enterDevice takes the code. Who guesses at codes of others is slowed down (RFC
// 8628 §5.1); the right ones do not count, for many people may share an address.
func (s *Server) enterDevice(w http.ResponseWriter, r *http.Request) error {
	form, err := parseForm(r)
	if err != nil {
		return err
	}
	b := s.browser(w, r)
	again := deviceForm{Sealed: s.sealBrowser(b), Login: loginWanted(form)}
	if !s.isBrowser(form.Get("request"), b) {
		return s.showDevice(w, http.StatusBadRequest, again.saying("That page was too old. Enter the code again."))
	}
	source := web.Source(r)
	if !s.guesses.allow(source, s.cfg.Now()) {
		s.refuse(r, "device", &oauth.Error{Code: oauth.TemporarilyUnavailable})
		w.Header().Set("Retry-After", "60")
		return s.showDevice(w, http.StatusTooManyRequests, again.saying("Too many codes were tried from your network. Wait a minute, then enter the code again."))
	}
	req, err := s.enteredDevice(r.Context(), form.Get("user_code"))
	if errors.Is(err, ErrNotFound) {
		s.refuse(r, "device", &oauth.Error{Code: oauth.InvalidGrant})
		return s.showDevice(w, http.StatusBadRequest, again.saying("There is no such code, or it is too old. Look at the device again."))
	} else if err != nil {
		return err
	}
	s.guesses.giveBack(source)
	if err := req.wants(again.Login); err != nil {
		return err
	}
	s.begin(req)
	return s.resume(w, r, req, b)
}

// enteredDevice is the request behind a code that a person typed, if nobody has
// answered for it. It returns ErrNotFound.
func (s *Server) enteredDevice(ctx context.Context, typed string) (*authorizeRequest, error) {
	code, ok := parseUserCode(typed)
	if !ok {
		return nil, ErrNotFound
	}
	req, err := s.deviceRequest(ctx, code)
	if err != nil {
		return nil, err
	}
	d, err := s.cfg.Store.DeviceCode(ctx, req.device)
	if err == nil && !d.Decided.IsZero() {
		err = ErrNotFound
	}
	return req, err
}

// deviceRequest is the request behind a user code, answered as it may be: who
// answers a second time is told what became of it. The code of a client that is gone,
// or that may not use this grant any more, is as none. It returns ErrNotFound.
func (s *Server) deviceRequest(ctx context.Context, userCode string) (*authorizeRequest, error) {
	d, err := s.cfg.Store.UserCode(ctx, hash(userCode))
	if err != nil {
		return nil, err
	}
	c, err := s.find(ctx, d.ClientID, d.Document)
	if err != nil {
		return nil, err
	}
	if !s.cfg.Now().Before(d.Expires) || !c.May(oauth.GrantDeviceCode) {
		return nil, ErrNotFound
	}
	req := &authorizeRequest{client: c, ours: s.ours(c), userCode: userCode, device: d.Hash}
	if req.resource, err = s.cfg.Resources.OneFor(c.ID.String(), []string{d.Resource}); err != nil {
		return nil, err
	}
	req.scope, err = s.grantedScope(d.Scope, c, req.resource)
	return req, err
}

// decideDevice notes what the person decided on a device, once, and says what came
// of it: a form that was sent twice is told the same.
func (s *Server) decideDevice(w http.ResponseWriter, r *http.Request, req *authorizeRequest, person login, approved bool) error {
	d, err := s.cfg.Store.DeviceCode(r.Context(), req.device)
	if err == nil && d.Decided.IsZero() {
		if err = s.noteDecision(r, req, person, approved); err == nil || errors.Is(err, ErrSpent) {
			d, err = s.cfg.Store.DeviceCode(r.Context(), req.device)
		}
	}
	if err != nil {
		return err
	}
	if d.Authorization == "" {
		return s.showDone(w, "The device was refused", "Nothing was allowed. You can close this page.")
	}
	a, err := s.cfg.Store.Authorization(r.Context(), d.Authorization)
	switch {
	case err != nil:
		return err
	case approved && a.Subject == person.Subject:
		return s.showDone(w, "The device is connected", "You can close this page and go back to the device.")
	}
	return s.showDone(w, "This code was answered before", "Somebody has let the device in already, so your answer changed nothing. Look at the device.")
}

// noteDecision returns ErrSpent when somebody else was first.
func (s *Server) noteDecision(r *http.Request, req *authorizeRequest, person login, approved bool) error {
	e := consentEvent(r, req, person, rand.Text())
	e.Action = "device"
	if !approved {
		e.Txn, e.Decision, e.Reason = "", "deny", "declined"
	}
	if err := s.record(r.Context(), e); err != nil {
		return err
	}
	now := s.cfg.Now()
	return s.cfg.Store.InTx(r.Context(), func(ctx context.Context) error {
		if !approved {
			return s.cfg.Store.DecideDeviceCode(ctx, req.device, "", now)
		}
		a, err := authorizationOf(req.client, person.Person, req.resource, req.scope.String())
		if err != nil {
			return err
		}
		a.ID, a.Created, a.Expires = e.Txn, now, now.Add(s.cfg.AbsoluteLifetime)
		if err := s.cfg.Store.InsertAuthorization(ctx, a); err != nil {
			return err
		}
		if err := s.cfg.Store.UseClient(ctx, a.ClientID, now); err != nil {
			return err
		}
		return s.cfg.Store.DecideDeviceCode(ctx, req.device, a.ID, now)
	})
}
