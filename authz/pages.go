package authz

import (
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

//go:embed pages
var pageFiles embed.FS

var pages = web.NewPages(pageFiles)

// pageFunc is a handler whose errors are for a person, or for the client by redirect.
type pageFunc func(w http.ResponseWriter, r *http.Request) error

func (s *Server) page(action string, h pageFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		if code := web.Wire(err).Code; code != oauth.ServerError && !errors.Is(err, errDeclined) {
			s.refuse(r, action, err)
		}
		if back := (*redirectError)(nil); errors.As(err, &back) {
			err = s.redirectError(w, r, back)
		} else if wire := web.Wire(err); wire.Code != oauth.ServerError {
			s.showError(w, r, wire, "")
			return
		}
		if err != nil {
			s.cfg.Log.ErrorContext(r.Context(), "page failed", "path", r.URL.Path, "request_id", web.RequestID(r.Context()), "error", err)
			s.showError(w, r, &oauth.Error{Code: oauth.ServerError, Description: "something went wrong on our side; the operator finds the reason in the log under the request id below"}, "")
		}
	})
}

// pageData is what the templates show.
type pageData struct {
	Title, Request, RequestID      string
	Action                         string // what takes the form
	Style                          template.CSS
	Client, ClientID, RedirectHost string
	ClientHost                     string // of the metadata document that the client is known by
	Ours                           bool   // the client is this server's own
	Local                          bool   // the redirect goes to the person's own machine
	Switch                         string // where to sign in as somebody else
	Resource, Subject              string
	Scopes                         []scopeText
	Users                          []string
	UserCode, Text, Wrong          string
	ACRValues, MaxAge              string // that a device asks for
	Error                          *oauth.Error
	Back                           string // where the person may take the error to
}

type scopeText struct{ Name, Text string }

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, req *authorizeRequest, browser string) error {
	sealed, err := s.sealPending(req, browser, identity.Subject{})
	if err != nil {
		return err
	}
	d := requestData(req)
	d.Title, d.Request = "Sign in", sealed
	for _, u := range s.cfg.InsecureUsers {
		d.Users = append(d.Users, u.String())
	}
	return s.render(w, http.StatusOK, "login.html", d, s.formAction(req.redirectURI))
}

func (s *Server) showConsent(w http.ResponseWriter, r *http.Request, req *authorizeRequest, browser string, l login) error {
	sealed, err := s.sealPending(req, browser, l.Subject)
	if err != nil {
		return err
	}
	d := requestData(req)
	d.Title, d.Request, d.Subject = "Allow access?", sealed, l.Subject.String()
	d.Action, d.Switch = pathConsent, pathLogin+"?request="+sealed
	return s.render(w, http.StatusOK, "consent.html", d, s.formAction(req.redirectURI))
}

// formAction is where our forms lead. Browsers hold every redirect after a form to
// it: those of the IdP and of the client's own callback go on to hosts that nobody
// here knows, and an IPv6 address cannot be named (CSP Level 3 §2.3.1). So it has
// schemes, and no host but our own.
func (s *Server) formAction(redirectURI string) string {
	sources := []string{"'self'"}
	if u, err := url.Parse(redirectURI); err == nil && redirectURI != "" {
		sources = append(sources, "https:", u.Scheme+":")
	}
	if s.cfg.Login != nil {
		sources = append(sources, "https:")
		if s.onLoopback() { // so may be the IdP
			sources = append(sources, "http:")
		}
	}
	slices.Sort(sources)
	return strings.Join(slices.Compact(sources), " ")
}

// deviceForm is the form for the code that a device shows.
type deviceForm struct {
	Sealed, Code, Wrong string
	Login               url.Values // that the device asks for
}

func (f deviceForm) saying(wrong string) deviceForm { f.Wrong = wrong; return f }

// showDevice asks for the code.
func (s *Server) showDevice(w http.ResponseWriter, status int, f deviceForm) error {
	return s.render(w, status, "device.html", pageData{Title: "Connect a device", Action: PathDevice, Request: f.Sealed, UserCode: f.Code, Wrong: f.Wrong,
		ACRValues: f.Login.Get("acr_values"), MaxAge: f.Login.Get("max_age")}, s.formAction(""))
}

// showDone is the end of what a person came for.
func (s *Server) showDone(w http.ResponseWriter, title, text string) error {
	return s.render(w, http.StatusOK, "done.html", pageData{Title: title, Text: text}, "'none'")
}

func (s *Server) showError(w http.ResponseWriter, r *http.Request, e *oauth.Error, back string) {
	d := pageData{Title: "That did not work", Error: e, RequestID: web.RequestID(r.Context()), Back: back}
	if u, err := url.Parse(back); err == nil {
		d.RedirectHost = u.Host
	}
	if err := s.render(w, e.Status(), "error.html", d, "'none'"); err != nil {
		s.cfg.Log.Error("render error page", "error", err)
	}
}

func requestData(req *authorizeRequest) pageData {
	d := pageData{UserCode: req.userCode, Client: printable(req.client.Name), ClientID: req.client.ID.String(), Resource: req.resource.String()}
	d.Ours = req.ours
	if isDocument(req.client.ID) {
		d.ClientHost = hostOf(d.ClientID)
	}
	if d.Client == "" {
		d.Client = "An application without a name"
	}
	if u, err := url.Parse(req.redirectURI); err == nil && req.redirectURI != "" {
		d.RedirectHost, d.Local = u.Host, isLoopback(u.Hostname())
		if u.Scheme != "https" && u.Scheme != "http" {
			d.RedirectHost = u.Scheme + "://" + u.Host
		}
	}
	for _, f := range req.scope.Fields() {
		d.Scopes = append(d.Scopes, scopeText{f, explain(f)})
	}
	return d
}

// printable leaves out what is not seen, or turns around what is beside it,
// wherever the name came from.
func printable(name string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unprintable(r) {
			return -1
		}
		return r
	}, name))
}

// explain says what a scope means to the person who is asked.
func explain(scope string) string {
	switch scope {
	case oauth.ScopeTools:
		return "use the tools that your roles allow"
	case oauth.ScopeResources:
		return "read the resources that your roles allow"
	case oauth.ScopePrompts:
		return "use the prompts that your roles allow"
	case oauth.ScopeApprovals:
		return "approve or deny risky calls of others, where your roles let you"
	}
	tool, _ := strings.CutPrefix(scope, "tool:")
	return "use only the tool " + tool + ", if your roles allow it"
}

// render writes a page whose forms lead to formAction.
func (s *Server) render(w http.ResponseWriter, status int, name string, d pageData, formAction string) error {
	d.Style = pages.Style
	return pages.Write(w, status, name, d, formAction)
}
