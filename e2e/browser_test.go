package e2e_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
)

// Selectors that tell the pages apart.
const (
	onLogin   = `button[value="alice"]`
	onConsent = `button[value="approve"]`
	onDevice  = `#user_code`
	onWrong   = `#wrong`
	onDone    = `#done`
	onError   = `#error`
	arrived   = `#arrived`
)

// stepWithin is a step's own deadline, so that a hang names it.
const stepWithin = 20 * time.Second

// startBrowser starts a fresh headless Chromium.
func startBrowser(t *testing.T, options ...chromedp.ExecAllocatorOption) context.Context {
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
	ctx, stop := chromedp.NewExecAllocator(ctx, append(opts, options...)...)
	t.Cleanup(stop)
	ctx, stopTab := chromedp.NewContext(ctx)
	t.Cleanup(stopTab)
	return ctx
}

// tab is a tab of a browser, with cookies of its own.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       *sync.Mutex // guards what follows
	refusals *[]string   // what the browser says that it refused, for security
}

// newTab opens a tab. At the end of the test the browser must not have refused
// anything that a page of ours asked for.
func newTab(t *testing.T, browser context.Context) tab {
	t.Helper()
	if err := chromedp.Do(browser); err != nil { // starts it
		t.Fatal(err)
	}
	ctx, stop := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	b := tab{t, ctx, new(sync.Mutex), new([]string)}
	if err := chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok && e.Entry.Source == log.EntrySourceSecurity {
			b.mu.Lock()
			defer b.mu.Unlock()
			*b.refusals = append(*b.refusals, e.Entry.Text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, refusal := range b.refused() {
			t.Errorf("the browser says: %s", refusal)
		}
	})
	return b
}

// refused is what the browser refused until now.
func (b tab) refused() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := *b.refusals
	*b.refusals = nil
	return found
}

func (b tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepWithin)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\nthe page says: %s", err, b.text())
	}
}

// open goes to an address, and waits for what tells the page.
func (b tab) open(address, selector string) {
	b.t.Helper()
	b.do(chromedp.Navigate(address))
	b.see(selector)
}

func (b tab) see(selector string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// click clicks, and waits for what tells the page that it leads to.
func (b tab) click(selector, leadsTo string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
	b.see(leadsTo)
}

// text is what a person reads, or "".
func (b tab) text() string {
	ctx, cancel := context.WithTimeout(b.ctx, stepWithin)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(text), " ")
}

// says wants the words in the text of the page.
func (b tab) says(words ...string) {
	b.t.Helper()
	text := b.text()
	for _, want := range words {
		if !strings.Contains(text, want) {
			b.t.Errorf("the page does not say %q: %s", want, text)
		}
	}
}

// press presses keys, wherever the focus is.
func (b tab) press(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// hasFocus wants the focus on what has this text, and to be seen there.
func (b tab) hasFocus(text string) {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`(e => [e.innerText.trim(), getComputedStyle(e).outlineStyle, getComputedStyle(e).outlineWidth])(document.activeElement)`))
	if err != nil {
		b.t.Fatal(err)
	}
	if len(got) != 3 || got[0] != text || got[1] != "solid" || got[2] != "3px" {
		b.t.Errorf("the focus is on %q, want %q with an outline", got, text)
	}
}

func (b tab) location() *url.URL {
	b.t.Helper()
	at, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil {
		b.t.Fatal(err)
	}
	u, err := url.Parse(at)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// picture keeps what the page looks like, if WICKETGATE_SCREENSHOTS names a folder.
func (b tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("WICKETGATE_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
