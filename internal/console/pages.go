package console

import (
	"embed"
	"errors"
	"html/template"
	"net/http"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

//go:embed pages
var pageFiles embed.FS

var pages = web.NewPages(pageFiles)

// pageData is what the templates show.
type pageData struct {
	Title           string
	Style           template.CSS
	Refresh         int    // seconds; 0: never
	Subject         string // who is signed in; empty: nobody
	Ticket          string // of the form to sign out
	Waiting, Recent []view
	A               view
	Text, Back      string // of a message, and where it leads
	Again, Other    string // where to log in, and as somebody else; empty: nowhere
	RequestID       string
}

// pageFunc is a handler whose errors are for a person.
type pageFunc func(w http.ResponseWriter, r *http.Request) error

// page has who is not signed in log in, and says everything else that went wrong.
func (c *Console) page(h pageFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if errors.Is(err, ErrNoSession) && r.Method == http.MethodGet {
			err = c.begin(w, r, r.URL.Path, nil)
		}
		if err != nil {
			c.fail(w, r, err)
		}
	})
}

// own refuses what a page of another site has posted (CSRF): browsers name the origin of
// each form. What is let through still needs the ticket of its form.
func (c *Console) own(h pageFunc) pageFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		origin, site := r.Header.Values("Origin"), r.Header.Get("Sec-Fetch-Site")
		if len(origin) != 1 || origin[0] != c.cfg.Issuer || site != "" && site != "same-origin" {
			return errForm
		}
		return h(w, r)
	}
}

// errForm is for a form that is not one of ours, to this browser, for this request.
var errForm = errors.New("this form is too old, or not from this page: nothing was decided")

// list shows what waits, and what became of others.
func (c *Console) list(w http.ResponseWriter, r *http.Request) error {
	who, err := c.who(r)
	if err != nil {
		return err
	}
	waiting, recent, err := c.desk.list(r.Context(), who.approver)
	if err != nil {
		return err
	}
	d, err := c.data(who)
	if err != nil {
		return err
	}
	d.Title, d.Refresh = "Approvals", listRefresh
	for _, s := range waiting {
		d.Waiting = append(d.Waiting, c.view(s))
	}
	for _, s := range recent {
		d.Recent = append(d.Recent, c.view(s))
	}
	return c.render(w, http.StatusOK, "approvals.html", d)
}

// Seconds between two looks at what may have changed. Who writes a comment is not disturbed.
const (
	listRefresh = 15
	waitRefresh = 5
)

// show is the page of one request.
func (c *Console) show(w http.ResponseWriter, r *http.Request) error {
	who, err := c.who(r)
	if err != nil {
		return err
	}
	s, err := c.desk.see(r.Context(), who.approver, r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.showOne(w, http.StatusOK, who, s, "")
}

func (c *Console) showOne(w http.ResponseWriter, status int, who signedIn, s seen, wrong string) error {
	d, err := c.data(who)
	if err != nil {
		return err
	}
	d.A = c.view(s)
	if d.A.Ticket, err = c.formTicket(who, s.ID); err != nil {
		return err
	}
	d.Title, d.Text = d.A.Title, wrong
	if s.State == approval.Pending && !d.A.MayDecide {
		d.Refresh = waitRefresh
	}
	return c.render(w, status, "approval.html", d)
}

// answer takes a decision from the page.
func (c *Console) answer(w http.ResponseWriter, r *http.Request) error {
	who, form, err := c.posted(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	approve := form.Get("decision") == "approve"
	if !approve && form.Get("decision") != "deny" {
		return errForm
	}
	// Browsers send line ends as CR LF.
	v := verdict{r.PathValue("id"), approve, lineEnds.Replace(form.Get("comment")), web.Source(r), web.RequestID(r.Context())}
	s, err := c.desk.decide(r.Context(), who.approver, v)
	switch {
	case errors.Is(err, approval.ErrInvalid):
		if s, err = c.desk.see(r.Context(), who.approver, v.id); err != nil {
			return err
		}
		return c.showOne(w, http.StatusBadRequest, who, s, "A comment may have 1,000 bytes of printable text. Nothing was decided.")
	case err != nil:
		return err
	}
	seeOther(w, r, c.cfg.Issuer+PathApprovals+s.ID)
	return nil
}

// stepUp has somebody who has the role log in again, as the policy asks.
func (c *Console) stepUp(w http.ResponseWriter, r *http.Request) error {
	back := PathApprovals + r.PathValue("id")
	who, err := c.who(r)
	if errors.Is(err, ErrNoSession) {
		return c.begin(w, r, back, nil)
	} else if err != nil {
		return err
	}
	s, err := c.desk.see(r.Context(), who.approver, r.PathValue("id"))
	switch {
	case err != nil:
		return err
	case s.standing != stale:
		seeOther(w, r, c.cfg.Issuer+back)
		return nil
	}
	return c.begin(w, r, back, stronger(s.needs))
}

func (c *Console) logout(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := c.posted(r, ""); err != nil {
		return err
	}
	if err := c.signOut(w, r); err != nil {
		return err
	}
	return c.render(w, http.StatusOK, "message.html", pageData{Title: "Signed out", Text: "You are signed out of the console.", Again: pathLogin, Other: asOther(PathApprovals)})
}

// data is what every page of somebody has.
func (c *Console) data(who signedIn) (pageData, error) {
	ticket, err := c.formTicket(who, "")
	return pageData{Subject: Visible(who.Subject().String()), Ticket: ticket}, err
}

// fail tells a person what went wrong.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	d, status := pageData{Title: "That did not work", Back: PathApprovals, RequestID: web.RequestID(r.Context())}, http.StatusBadRequest
	var login *loginError
	var stepUp *stepUpError
	switch {
	case errors.Is(err, ErrNoSession):
		status, d.Text, d.Back = http.StatusUnauthorized, "You are no longer signed in, so nothing was decided. Go back to the page, and you are asked to sign in.", r.URL.Path
	case errors.Is(err, errForm), errors.Is(err, errAnswer):
		c.refuse(r, "foreign_form")
		d.Text = capital(err.Error()) + "."
	case errors.As(err, &login):
		d.Text, d.Back, d.Again, d.Other = login.text(), "", pathLogin+"?return="+login.back, asOther(login.back)
	case errors.As(err, &stepUp):
		status, d.Text, d.Back = http.StatusForbidden, "Your login has become too old for this, so nothing was decided. Go back to the page, and log in again there.", r.URL.Path
	case errors.Is(err, approval.ErrNotFound):
		status, d.Text, d.Other = http.StatusNotFound, "There is no such request here, or it is not for you to see.", asOther(r.URL.Path)
	default:
		var e *oauth.Error
		status, e = wire(err)
		d.Text = capital(e.Description) + "."
		if e.Code == oauth.ServerError {
			d.Text = "Something went wrong on our side; the operator finds the reason in the log under the request id below."
		}
		if e.Code == oauth.ServerError || e.Code == oauth.TemporarilyUnavailable {
			c.cfg.Log.ErrorContext(r.Context(), "console", "path", r.URL.Path, "request_id", d.RequestID, "error", err)
		}
	}
	if err := c.render(w, status, "message.html", d); err != nil {
		c.cfg.Log.Error("render page", "error", err)
	}
}

// asOther is where somebody else logs in, for the same page.
func asOther(back string) string {
	if !returnPaths.MatchString(back) {
		back = PathApprovals
	}
	return pathLogin + "?as=other&return=" + back
}

// render writes a page that no window of another site holds on to.
func (c *Console) render(w http.ResponseWriter, status int, name string, d pageData) error {
	d.Style = pages.Style
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	return pages.Write(w, status, name, d, "'self'")
}
