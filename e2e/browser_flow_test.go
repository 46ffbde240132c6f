package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// connection is a client that is about to connect.
type connection struct {
	*rawClient
	pkce
	redirect string
}

func connect(t *testing.T, h *house, name, redirect string) connection {
	t.Helper()
	return connection{registerAs(t, h, name, redirect), newPKCE(), redirect}
}

// link is what the client opens in the browser.
func (c connection) link() string {
	return c.authorizeURL(c.pkce, func(q url.Values) { q.Set("redirect_uri", c.redirect) })
}

// redeemed wants tokens for the code.
func (c connection) redeemed(t *testing.T, code string) tokenAnswer {
	t.Helper()
	a := c.token(t, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.redirect}, "code_verifier": {c.verifier}, "resource": {c.h.resource()}})
	if a.AccessToken == "" {
		t.Errorf("no token for the code: %d %s", a.Status, a.Error)
	}
	return a
}

// TestBrowserFlows: what people do with the pages, in Chromium.
func TestBrowserFlows(t *testing.T) {
	h, local, web := startHouse(t), startApp(t), startWebApp(t)
	browser := startBrowser(t, web.options...)
	for name, flow := range map[string]func(*testing.T, tab, flowWorld){
		"by keyboard only":                        byKeyboard,
		"without JavaScript":                      withoutJavaScript,
		"double click on Allow":                   doubleClick,
		"back, and the same answer again":         backAndAgain,
		"no question after consent is remembered": remembered,
		"sign in as somebody else":                somebodyElse,
		"a pushed request's link twice":           pushedTwice,
		"a device":                                aDevice,
		"deny":                                    denied,
		"reload of every page":                    reloaded,
	} {
		t.Run(name, func(t *testing.T) { flow(t, newTab(t, browser), flowWorld{h, local, web}) })
	}
}

type flowWorld struct {
	*house
	local *app
	web   webApp
}

// toApp is a client on this computer.
func (w flowWorld) toApp(t *testing.T) connection {
	t.Helper()
	return connect(t, w.house, "Notebook", w.local.URL+"/callback")
}

// arrivedWith wants to be at the client, and returns the code.
func (c connection) arrivedWith(t *testing.T, b tab) string {
	t.Helper()
	at := b.location()
	q := at.Query()
	if !strings.HasPrefix(at.String(), c.redirect+"?") || q.Get("code") == "" || q.Get("iss") != c.h.url || q.Get("state") != "state-of-the-client" {
		t.Fatalf("the browser is at %s", at)
	}
	return q.Get("code")
}

func byKeyboard(t *testing.T, b tab, w flowWorld) {
	c := w.toApp(t)
	b.open(c.link(), onLogin)
	for _, user := range []string{"alice", "bob"} {
		b.press(kb.Tab)
		b.hasFocus(user)
	}
	b.press(kb.Enter)
	b.see(onConsent)
	b.press(kb.Tab)
	b.hasFocus("Deny") // first, so that haste allows nothing
	b.press(kb.Tab)
	b.hasFocus("Allow")
	b.press(kb.Tab)
	b.hasFocus("Not bob? Sign in as somebody else")
	b.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	b.hasFocus("Allow")
	b.press(" ")
	b.see(arrived)
	c.redeemed(t, c.arrivedWith(t, b))

	d := w.newDevice(t)
	b.open(w.url+"/oauth2/device", onDevice)
	b.press(kb.Tab)
	b.press("bbbbbbbb" + kb.Enter)
	b.see(onWrong)
	b.press(d.UserCode + kb.Enter) // where the focus is now
	b.see(onConsent)
	b.press(kb.Tab + kb.Enter)
	b.see(onDone)
	b.says("The device was refused")
	if a := d.poll(t); a.Error != "access_denied" {
		t.Errorf("the device is told %+v", a)
	}
}

func withoutJavaScript(t *testing.T, b tab, w flowWorld) {
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	c := w.toApp(t)
	b.open(w.local.URL+"/script", "p")
	if text := b.text(); text != "no script" {
		t.Fatalf("scripts run: %s", text)
	}
	b.open(c.link(), onLogin)
	b.click(onLogin, onConsent)
	b.click(onConsent, arrived)
	c.redeemed(t, c.arrivedWith(t, b))
}

// doubleClick has the second click come while the answer to the first is under way.
func doubleClick(t *testing.T, b tab, w flowWorld) {
	c := w.toApp(t)
	before := len(w.local.codes())
	b.open(c.link(), onLogin)
	b.click(onLogin, onConsent)
	box, err := chromedp.Run(b.ctx, chromedp.Dimensions(chromedp.CSS(onConsent)))
	if err != nil {
		t.Fatal(err)
	}
	x, y := (box.Content[0]+box.Content[4])/2, (box.Content[1]+box.Content[5])/2
	answers := b.holdAnswers("*/oauth2/consent")
	var ledTo []string
	for range 2 {
		b.do(chromedp.MouseClickXY(x, y))
		select {
		case to := <-answers:
			ledTo = append(ledTo, to)
		case <-b.ctx.Done():
			t.Fatal("the form was not sent")
		}
	}
	b.do(letGo)
	b.see(arrived)
	if codes := w.local.codes()[before:]; ledTo[0] != ledTo[1] || len(codes) != 1 {
		t.Errorf("the clicks led to %q, and the client was sent %d codes; want the same twice, and 1", ledTo, len(codes))
	}
	a := c.redeemed(t, c.arrivedWith(t, b))
	if again := c.refresh(t, a.RefreshToken); again.AccessToken == "" {
		t.Errorf("the grant is gone: %+v", again)
	}
}

// holdAnswers has the browser wait with the answers from the address, and tells where
// each leads.
func (b tab) holdAnswers(pattern string) <-chan string {
	b.t.Helper()
	answers := make(chan string, 10)
	if err := chromedp.Listen(b.ctx, func(ev any) {
		if paused, ok := ev.(*fetch.EventRequestPaused); ok {
			to := ""
			for _, h := range paused.ResponseHeaders {
				if strings.EqualFold(h.Name, "Location") {
					to = h.Value
				}
			}
			answers <- to
		}
	}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := chromedp.Call(b.ctx, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: pattern, RequestStage: fetch.RequestStageResponse}}}); err != nil {
		b.t.Fatal(err)
	}
	return answers
}

// letGo goes on with what was held.
func letGo(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
	_, err := cdp.Call(ctx, t, fetch.Disable, cdp.Empty{})
	return chromedp.Void{}, err
}

func backAndAgain(t *testing.T, b tab, w flowWorld) {
	c := w.toApp(t)
	b.open(c.link(), onLogin)
	b.click(onLogin, onConsent)
	const sealed = `document.querySelector("input[name=request]").value`
	first, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](sealed))
	if err != nil {
		t.Fatal(err)
	}
	b.click(onConsent, arrived)
	a := c.redeemed(t, c.arrivedWith(t, b))
	b.do(chromedp.NavigateBack())
	b.see(onConsent)
	b.do(chromedp.SetValue(chromedp.CSS("input[name=request]"), first))
	b.click(onConsent, onError)
	b.says("this page was answered before: go back to the application")
	if a = c.refresh(t, a.RefreshToken); a.AccessToken == "" {
		t.Errorf("the grant is gone: %+v", a)
	}
	b.open(c.link(), onConsent) // and a new page asks anew
	b.click(onConsent, arrived)
	c.redeemed(t, c.arrivedWith(t, b))
	if a = c.refresh(t, a.RefreshToken); a.AccessToken == "" {
		t.Errorf("the first grant is gone: %+v", a)
	}
}

func remembered(t *testing.T, b tab, w flowWorld) {
	c := connect(t, w.house, "Notebook", w.web.redirect)
	b.open(c.link(), onLogin)
	b.click(onLogin, onConsent)
	b.click(onConsent, arrived)
	c.redeemed(t, c.arrivedWith(t, b))
	again := connection{c.rawClient, newPKCE(), c.redirect}
	b.open(again.link(), arrived)
	again.redeemed(t, again.arrivedWith(t, b))
	again = connection{c.rawClient, newPKCE(), c.redirect}
	b.open(again.link()+"&prompt=login", onLogin)
	b.click(onLogin, arrived) // the login page's form leads straight to the client
	again.redeemed(t, again.arrivedWith(t, b))
	native := w.toApp(t) // any program can be that one: asked each time
	for range 2 {
		b.open(native.link(), onConsent)
		b.click(onConsent, arrived)
	}
}

func somebodyElse(t *testing.T, b tab, w flowWorld) {
	c := w.toApp(t)
	b.open(c.link(), onLogin)
	b.click(onLogin, onConsent)
	b.says("signed in as alice")
	b.click("a", onLogin)
	b.click(`button[value="bob"]`, onConsent)
	b.says("signed in as bob")
	b.click(onConsent, arrived)
	a := c.redeemed(t, c.arrivedWith(t, b))
	if sub := part(t, a.AccessToken, 1)["sub"]; sub != "bob" {
		t.Errorf("sub %v, want bob", sub)
	}
}

func denied(t *testing.T, b tab, w flowWorld) {
	c := connect(t, w.house, "Notebook", w.web.redirect)
	b.open(c.link(), onLogin)
	b.click(onLogin, onConsent)
	b.click(`button[value="deny"]`, arrived)
	if q := b.location().Query(); q.Get("error") != "access_denied" || q.Has("code") {
		t.Errorf("the client is told %v", q)
	}
	b.open(c.link(), onConsent) // a no is not remembered
}

func reloaded(t *testing.T, b tab, w flowWorld) {
	c := w.toApp(t)
	b.open(c.link(), onLogin)
	b.do(chromedp.Reload())
	b.click(onLogin, onConsent)
	b.do(chromedp.Reload())
	b.says("signed in as alice")
	b.click(onConsent, arrived)
	c.redeemed(t, c.arrivedWith(t, b))
}

func pushedTwice(t *testing.T, b tab, w flowWorld) {
	c := w.toApp(t)
	u, err := url.Parse(c.link())
	if err != nil {
		t.Fatal(err)
	}
	var at struct {
		PAR string `json:"pushed_authorization_request_endpoint"`
	}
	getJSON(t, w.url+"/.well-known/oauth-authorization-server", &at)
	resp, body := send(t, http.MethodPost, at.PAR, formHeader, u.RawQuery)
	var pushed struct {
		URI string `json:"request_uri"`
	}
	if err := json.Unmarshal(body, &pushed); err != nil || pushed.URI == "" {
		t.Fatalf("push: %d %s", resp.StatusCode, body)
	}
	link := c.meta.Authorize + "?" + url.Values{"client_id": {c.id}, "request_uri": {pushed.URI}}.Encode()
	b.open(link, onLogin)
	b.do(chromedp.Reload())
	b.see(onLogin)
	page := b.location().String()
	b.open(link, onError)
	b.says("this link was used before or is too old: go back to the application and connect again")
	b.open(page, onLogin) // is still good
	b.click(onLogin, onConsent)
	b.click(onConsent, arrived)
	c.redeemed(t, c.arrivedWith(t, b))
}

func aDevice(t *testing.T, b tab, w flowWorld) {
	d := w.newDevice(t)
	b.open(w.url+"/oauth2/device", onDevice)
	b.do(chromedp.SendKeys(chromedp.CSS(onDevice), "BBBB-BBBB"))
	b.click("button.go", onWrong)
	b.says("There is no such code, or it is too old. Look at the device again.")
	b.do(chromedp.SendKeys(chromedp.CSS(onDevice), strings.ToLower(strings.ReplaceAll(d.UserCode, "-", ""))))
	b.click("button.go", onLogin)
	b.click(onLogin, onConsent)
	b.says("The device shows "+d.UserCode, "signed in as alice", "Television")
	b.click(onConsent, onDone)
	b.says("The device is connected", "go back to the device")
	if a := d.poll(t); a.AccessToken == "" || a.RefreshToken == "" {
		t.Errorf("the device is told %+v", a)
	}
	d = w.newDevice(t)
	b.open(d.Complete, onDevice) // the code is filled in, and still asked about
	b.says("If somebody sent you the code, it is they who would get in")
	b.click("button.go", onConsent)
	b.says("The device shows " + d.UserCode)
}
