package e2e_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/wicketgate/wicketgate/internal/freeport"
)

// TestBrowserReachesEveryRedirect: Chromium holds every redirect after a form to
// the form-action of the page, so it decides whether the code arrives.
func TestBrowserReachesEveryRedirect(t *testing.T) {
	h, local, web := startHouse(t), startApp(t), startWebApp(t)
	browser := startBrowser(t, web.options...)
	for name, redirect := range map[string]string{
		"http on 127.0.0.1":                      local.URL + "/callback",
		"http on localhost":                      onLocalhost(local.URL) + "/callback",
		"http on ::1":                            startApp6(t).URL + "/callback",
		"http that goes on to a page on the web": local.URL + "/forward",
		"https":                                  web.redirect,
		"https that goes on to another host":     "https://app.example/forward",
	} {
		t.Run(name, func(t *testing.T) {
			b := newTab(t, browser)
			b.open(connect(t, h, "Notebook", redirect).link(), onLogin)
			b.click(onLogin, onConsent)
			b.click(onConsent, arrived)
		})
	}
}

// TestBrowserGetsToTheIdP: from the device page, and from a consent page that was
// open for longer than the login lasted, a form leads to the IdP.
func TestBrowserGetsToTheIdP(t *testing.T) {
	h, local := startWithIDP(t), startApp(t)
	b := newTab(t, startBrowser(t))
	d := h.newDevice(t)
	b.open(d.Complete, onDevice)
	b.click("button.go", `input[name="password"]`)
	b.do(chromedp.SendKeys(chromedp.CSS(`input[name="login"]`), "alice"), chromedp.SendKeys(chromedp.CSS(`input[name="password"]`), "alice-password"))
	b.click(`[name="answer"][value="login"]`, onConsent)
	b.says("The device shows " + d.UserCode)
	b.click(onConsent, onDone)
	if a := d.poll(t); a.AccessToken == "" {
		t.Errorf("the device is told %+v", a)
	}
	b.open(connect(t, h, "Notebook", local.URL+"/callback").link(), onConsent)
	for _, name := range []string{"wicketgate_session", "_session", "_session.sig"} { // ours, and the IdP's
		if _, err := chromedp.Call(b.ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: h.url}); err != nil {
			t.Fatal(err)
		}
	}
	b.click(onConsent, `input[name="password"]`)
}

// startWithIDP starts `wicketgate serve` with the IdP.
func startWithIDP(t *testing.T) *house {
	t.Helper()
	listen, dir := freeport.Address(t), t.TempDir()
	issuer := "http://" + listen
	for name, content := range map[string]string{
		"kek":         "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
		"idp.secret":  idpSecret,
		"access.yaml": "version: 1\nroles:\n  reader:\n    who: {groups: [engineering]}\n    servers: {mail: {tools: [read]}}\n",
		"wicketgate.yaml": "issuer: " + issuer + "\nlisten: " + listen + "\nadmin: {listen: \"" + freeport.Address(t) + "\"}\ndata: data\nkey_encryption_key: kek\npolicy: access.yaml\nlogin:\n  issuer: " + startIDP(t, issuer+"/oauth2/callback") +
			"\n  client_id: wicketgate\n  client_secret_file: idp.secret\n  scopes: [openid, profile, groups]\nservers:\n  - {name: mail, url: \"http://127.0.0.1:9/mcp\"}\ntrust: first-use\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &replica{dir: dir, listen: listen, config: filepath.Join(dir, "wicketgate.yaml")}
	r.start(t)
	r.url = issuer
	return r.house
}

// startApp6 is a program on this computer that listens on IPv6 only.
func startApp6(t *testing.T) *app {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	a := new(app)
	a.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: a}}
	a.Start()
	t.Cleanup(a.Close)
	return a
}
