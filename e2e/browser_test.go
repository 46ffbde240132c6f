package e2e_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestPeopleSignInWithARealBrowser goes through the pages with Chromium, which
// holds them to their own Content-Security-Policy: a form whose redirect leaves
// for the client is the thing that robots do not notice.
//
// With WICKETGATE_SCREENSHOTS=DIR it leaves a picture of each page there.
func TestPeopleSignInWithARealBrowser(t *testing.T) {
	ctx := startBrowser(t)
	h := startHouse(t)
	app := startApp(t)
	c := registerAs(t, h, "Notebook <b>", app.URL+"/callback")
	link := c.authorizeURL(newPKCE(), func(q url.Values) { q.Set("redirect_uri", app.URL+"/callback") })
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	do(chromedp.Navigate(link), chromedp.WaitVisible(`button[value="alice"]`))
	picture(t, ctx, "login")
	do(chromedp.Click(`button[value="alice"]`), chromedp.WaitVisible(`button[value="approve"]`))
	text, err := chromedp.Run(ctx, chromedp.Text("main"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"alice", "Notebook <b>", h.resource(), "mcp:tools", strings.TrimPrefix(app.URL, "http://"), "a program on this computer"} {
		if !strings.Contains(text, want) {
			t.Errorf("the consent page does not show %q:\n%s", want, text)
		}
	}
	picture(t, ctx, "consent")
	do(chromedp.Click(`button[value="approve"]`), chromedp.WaitVisible("#arrived"))
	if at, err := chromedp.Run(ctx, chromedp.Location()); err != nil || !strings.HasPrefix(at, app.URL+"/callback?code=") || !strings.Contains(at, "iss=") {
		t.Errorf("the browser arrived at %s, error %v", at, err)
	}
	do(chromedp.Navigate(strings.Replace(link, "callback", "callbacks", 1)))
	if text, err := chromedp.Run(ctx, chromedp.Text("main")); err != nil || !strings.Contains(text, "redirect_uri is not one that this application registered") {
		t.Errorf("the error page says %q, error %v", text, err)
	}
	picture(t, ctx, "error")
}

// startBrowser starts a fresh headless Chromium.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		missing(t, "no Chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("no-sandbox", true), chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("window-size", "900,900"), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := context.WithTimeout(t.Context(), testWithin)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(stop)
	ctx, stopTab := chromedp.NewContext(ctx)
	t.Cleanup(stopTab)
	return ctx
}

// app is a program on this computer that waits for its code.
type app struct{ *httptest.Server }

func startApp(t *testing.T) app {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<p id="arrived">You may close this page.</p>`))
	}))
	t.Cleanup(srv.Close)
	return app{srv}
}

// picture keeps what the page looks like.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("WICKETGATE_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}
