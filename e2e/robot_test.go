package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const (
	maxSteps = 20
	maxPage  = 1 << 20
)

// robot is a browser with a person in front of it, who logs in as user, answers
// the consent page with decision, and knows no other page. It keeps cookies, so
// that one robot is one browser over several logins.
//
// Of what browsers do and plain HTTP clients do not, it does what has broken
// such pages before: the Origin of a form's post is null under the referrer
// policy no-referrer (Fetch, "append a request Origin header"), and a
// Content-Security-Policy with form-action holds for the redirects after the
// post too (as Chrome does).
type robot struct {
	user     string // alice, bob or carol
	decision string // approve or deny
	jar      http.CookieJar
	idp      string // origin of the IdP that the person has a password at; may be empty
	code     string // second factor that the person has at hand; empty: none
}

func newRobot(user, decision string) *robot {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it never does without options
	}
	return &robot{user: user, decision: decision, jar: jar}
}

// page is what the person saw.
type page struct {
	url  *url.URL
	text string

	root     *html.Node
	header   http.Header
	formOnly []string // sources of form-action, nil when there is no such directive
}

// visit is one way from the authorize URL to the client's redirect URI.
type visit struct {
	redirect *url.URL // where the browser was sent in the end; not fetched
	pages    []page
}

// authorize opens the URL and does what the person would until the browser is
// sent to the redirect_uri that the URL names.
func (r *robot) authorize(ctx context.Context, authorizeURL string) (visit, error) {
	u, err := url.Parse(authorizeURL)
	if err != nil {
		return visit{}, err
	}
	return r.authorizeTo(ctx, authorizeURL, u.Query().Get("redirect_uri"))
}

// authorizeTo is authorize for a URL that does not name the redirect_uri, because
// the client has pushed it (RFC 9126).
func (r *robot) authorizeTo(ctx context.Context, authorizeURL, redirectURI string) (visit, error) {
	u, err := url.Parse(authorizeURL)
	if err != nil {
		return visit{}, err
	}
	to, err := url.Parse(redirectURI)
	if err != nil {
		return visit{}, fmt.Errorf("redirect_uri: %w", err)
	}
	return r.walk(ctx, &walk{origin: origin(u), redirectURI: to}, authorizeURL)
}

// walk goes from the URL to the walk's end.
func (r *robot) walk(ctx context.Context, w *walk, from string) (visit, error) {
	w.robot, w.client = r, &http.Client{Jar: r.jar, CheckRedirect: stay}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	for range maxSteps {
		if err != nil {
			return w.visit, err
		}
		if req, err = w.step(req); req == nil {
			return w.visit, err
		}
	}
	return w.visit, fmt.Errorf("the robot is still going after %d steps", maxSteps)
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// walk is the state of one authorize.
type walk struct {
	visit
	robot       *robot
	client      *http.Client
	origin      string
	redirectURI *url.URL
	userCode    string   // that a device shows; empty: the walk ends at the redirect URI
	formOnly    []string // form-action of the page whose form was posted last
}

// step sends the request and returns the next, or nil at the end.
func (w *walk) step(req *http.Request) (*http.Request, error) {
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return w.follow(req, resp)
	}
	p, err := readPage(resp)
	if err != nil {
		return nil, err
	}
	w.pages = append(w.pages, p)
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d: %s", resp.Request.URL.Path, resp.StatusCode, p.text)
	}
	return w.robot.answer(req.Context(), w, p)
}

// follow goes on at the same origin and stops at the client's redirect URI.
func (w *walk) follow(req *http.Request, resp *http.Response) (*http.Request, error) {
	to, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("redirect: %w", err)
	}
	if !allows(w.formOnly, w.origin, to) {
		return nil, fmt.Errorf("a browser would not go to %s: form-action is %v", to, w.formOnly)
	}
	if resp.StatusCode != http.StatusFound && resp.StatusCode != http.StatusSeeOther {
		return nil, fmt.Errorf("redirect with status %d, which would repeat a post", resp.StatusCode)
	}
	switch {
	case w.redirectURI != nil && origin(to) == origin(w.redirectURI) && to.Path == w.redirectURI.Path:
		w.redirect = to
		return nil, nil
	case origin(to) == w.origin, origin(to) == w.robot.idp:
		return http.NewRequestWithContext(req.Context(), http.MethodGet, to.String(), nil)
	default:
		return nil, fmt.Errorf("redirect to %s, which is neither the authorization server nor the redirect URI", to)
	}
}

// answer fills in the form that the page has.
func (r *robot) answer(ctx context.Context, w *walk, p page) (*http.Request, error) {
	if w.userCode != "" {
		if req, done, err := w.enter(ctx, p); done {
			return req, err
		}
	}
	if r.idp != "" && origin(p.url) == r.idp {
		return r.logIn(ctx, w, p)
	}
	for _, choice := range []struct{ name, value string }{{"user", r.user}, {"decision", r.decision}} {
		for form := range forms(p.root) {
			if values, ok := fill(form, choice.name, choice.value); ok {
				w.formOnly = p.formOnly
				return w.post(ctx, p, form, values)
			}
		}
	}
	return nil, fmt.Errorf("the robot knows nothing to do with the page at %s: %s", p.url.Path, p.text)
}

// logIn fills in the login page of the IdP.
func (r *robot) logIn(ctx context.Context, w *walk, p page) (*http.Request, error) {
	for form := range forms(p.root) {
		values := url.Values{"login": {r.user}, "password": {r.user + "-password"}, "answer": {"login"}}
		if r.code != "" {
			values.Set("code", r.code)
		}
		w.formOnly = p.formOnly
		return w.post(ctx, p, form, values)
	}
	return nil, fmt.Errorf("the IdP's page at %s has no form: %s", p.url.Path, p.text)
}

func (w *walk) post(ctx context.Context, p page, form *html.Node, values url.Values) (*http.Request, error) {
	to, err := p.url.Parse(attribute(form, "action"))
	if err != nil {
		return nil, fmt.Errorf("form action: %w", err)
	}
	if !strings.EqualFold(attribute(form, "method"), http.MethodPost) {
		return nil, errors.New("the form does not post: its values would be in the URL")
	}
	if origin(to) != origin(p.url) || !allows(p.formOnly, origin(p.url), to) {
		return nil, fmt.Errorf("a browser or its person would not post the form to %s", to)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(values.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", origin(p.url))
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	if strings.EqualFold(p.header.Get("Referrer-Policy"), "no-referrer") {
		req.Header.Set("Origin", "null")
	}
	return req, nil
}

// readPage reads a page of HTML, or whatever text the server has sent.
func readPage(resp *http.Response) (page, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return page{}, err
	}
	root, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		return page{}, err
	}
	return page{
		url: resp.Request.URL, text: visibleText(root), root: root, header: resp.Header,
		formOnly: formAction(resp.Header.Values("Content-Security-Policy")),
	}, nil
}

// visibleText is what is to read on the page, with single spaces.
func visibleText(root *html.Node) string {
	var words []string
	for n := range root.Descendants() {
		if n.Type == html.TextNode && (n.Parent == nil || n.Parent.DataAtom != atom.Style && n.Parent.DataAtom != atom.Script) {
			words = append(words, strings.Fields(n.Data)...)
		}
	}
	return strings.Join(words, " ")
}

func forms(root *html.Node) func(yield func(*html.Node) bool) {
	return func(yield func(*html.Node) bool) {
		for n := range root.Descendants() {
			if n.DataAtom == atom.Form && !yield(n) {
				return
			}
		}
	}
}

// fill gives the values that the browser would send after the person has chosen
// name=value by a button, a radio button or a list; ok is false when the form
// does not offer that.
func fill(form *html.Node, name, value string) (values url.Values, ok bool) {
	values = url.Values{}
	var submit *html.Node // what is pressed when the choice is no button
	pressed := false
	for n := range form.Descendants() {
		kind, isName := control(n), attribute(n, "name")
		chosen := isName == name && attribute(n, "value") == value
		switch {
		case kind == "":
		case kind == "submit" && chosen:
			values.Add(name, value)
			ok, pressed = true, true
		case kind == "submit":
			if submit == nil {
				submit = n
			}
		case kind == "option":
			if attribute(ancestor(n, atom.Select), "name") == name && attribute(n, "value") == value {
				values.Add(name, value)
				ok = true
			}
		case kind == "radio" || kind == "checkbox":
			if isName == name && chosen || isName != name && has(n, "checked") {
				values.Add(isName, attribute(n, "value"))
				ok = ok || chosen
			}
		case isName != "":
			values.Add(isName, attribute(n, "value"))
			ok = ok || kind == "hidden" && chosen // a form for each person
		}
	}
	if ok && !pressed && submit != nil && attribute(submit, "name") != "" {
		values.Add(attribute(submit, "name"), attribute(submit, "value"))
	}
	return values, ok
}

// control is the kind of a form control, empty for what is none.
func control(n *html.Node) string {
	kind := strings.ToLower(attribute(n, "type"))
	switch {
	case has(n, "disabled"):
		return ""
	case n.DataAtom == atom.Option:
		return "option"
	case n.DataAtom == atom.Button && (kind == "" || kind == "submit"):
		return "submit"
	case n.DataAtom == atom.Input && kind == "":
		return "text"
	case n.DataAtom == atom.Input && kind != "button" && kind != "reset":
		return kind
	default:
		return ""
	}
}

func ancestor(n *html.Node, a atom.Atom) *html.Node {
	for n != nil && n.DataAtom != a {
		n = n.Parent
	}
	return n
}

func attribute(n *html.Node, name string) string {
	if n != nil {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// formAction finds the sources of the directive form-action (CSP Level 3 §6.4.1).
func formAction(policies []string) []string {
	for _, p := range policies {
		for directive := range strings.SplitSeq(p, ";") {
			if words := strings.Fields(directive); len(words) > 0 && strings.EqualFold(words[0], "form-action") {
				return words[1:]
			}
		}
	}
	return nil
}

// allows reports whether the sources let a form lead to the URL.
func allows(sources []string, self string, to *url.URL) bool {
	if sources == nil {
		return true
	}
	return slices.ContainsFunc(sources, func(s string) bool {
		return s == "*" || s == "'self'" && origin(to) == self || s == to.Scheme+":" || s == origin(to) ||
			s == to.Scheme+"://"+to.Hostname()+":*" || s == to.Host
	})
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
