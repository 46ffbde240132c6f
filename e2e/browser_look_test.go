package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestPeopleSignInWithARealBrowser goes through every page with Chromium, and holds
// each to what everybody can read: by eye in both colour schemes, on a small screen
// and enlarged, and by a screen reader.
//
// With WICKETGATE_SCREENSHOTS=DIR it leaves a picture of each page there.
func TestPeopleSignInWithARealBrowser(t *testing.T) {
	h, local, web := startHouse(t), startApp(t), startWebApp(t)
	b := newTab(t, startBrowser(t, web.options...))
	native := connect(t, h, "Notebook", local.URL+"/callback")
	b.open(strings.Replace(connect(t, h, "Notebook", web.redirect).link(), "S256", "plain", 1), onError)
	b.says("PKCE is required", "waits at app.example")
	b.inspect("")
	b.open(native.link(), onLogin)
	b.says("Sign in to let “Notebook” in", "There is no password")
	b.inspect("login")
	b.click(onLogin, onConsent)
	b.says("signed in as alice", "“Notebook”", "chose this name itself", h.resource(), "mcp:tools", "use the tools that your roles allow",
		strings.TrimPrefix(local.URL, "http://"), "a program on this computer", "Any program on this computer can wait there")
	b.inspect("consent")
	b.open(strings.Replace(native.link(), "callback", "callbacks", 1), onError)
	b.says("redirect_uri is not one that this application registered", "start again in the application")
	b.inspect("error")

	b.open(withDocument(t, h, local, web.redirect).link(), onConsent)
	b.says("localhost publishes this application", "sent back to app.example", "signed in as alice")
	b.inspect("consent-document")

	d := h.newDevice(t)
	b.open(h.url+"/oauth2/device", onDevice)
	b.inspect("device")
	b.do(chromedp.SendKeys(chromedp.CSS(onDevice), "BBBB-BBBB"))
	b.click("button.go", onWrong)
	b.isTold("There is no such code")
	b.inspect("")
	b.do(chromedp.SendKeys(chromedp.CSS(onDevice), d.UserCode))
	b.click("button.go", onConsent)
	b.inspect("device-consent")
	b.click(onConsent, onDone)
	b.inspect("")
}

// TestBrowserShowsLongAndForeignNames: what a client chose cannot break the page.
func TestBrowserShowsLongAndForeignNames(t *testing.T) {
	h := startHouse(t)
	b := newTab(t, startBrowser(t))
	for name, test := range map[string]string{
		"markup":                "<h1>Bank</h1><script>document.title='gone'</script><!--",
		"one long word":         strings.Repeat("Donaudampfschifffahrt", 4),
		"from right to left":    "מחברת של רות",
		"many marks on letters": "N\u0300\u0301\u0302\u0303\u0304\u0305o\u0300\u0301\u0302tebook",
	} {
		t.Run(name, func(t *testing.T) {
			b := b
			b.t = t
			c := connect(t, h, test, "http://127.0.0.1:1/callback?"+strings.Repeat("long", 100))
			b.open(c.link()+"&prompt=login", onLogin)
			b.says(test)
			b.inspect("")
			b.click(onLogin, onConsent)
			b.says("Allow “" + test + "” to act for you?")
			b.inspect("")
		})
	}
}

// withDocument is a client that is known by its metadata document.
func withDocument(t *testing.T, h *house, at *app, redirect string) connection {
	t.Helper()
	id := onLocalhost(at.URL) + "/client.json"
	var err error
	if at.document, err = json.Marshal(map[string]any{"client_id": id, "client_name": "Notes on the web", "redirect_uris": []string{redirect}, "token_endpoint_auth_method": "none"}); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{h: h, id: id}
	getJSON(t, h.url+"/.well-known/oauth-authorization-server", &c.meta)
	return connection{c, newPKCE(), redirect}
}

// inspect checks the page as everybody may see it, and keeps a picture of it if it
// has a name.
func (b tab) inspect(name string) {
	b.t.Helper()
	b.isAccessible()
	for _, scheme := range []string{"dark", "light"} {
		b.hasScheme(scheme)
		for _, width := range []int64{320, 450, 640, 900} { // 450 is 900 at 200 %
			b.hasWidth(width)
			b.fits(fmt.Sprintf("%s at %d px", scheme, width))
		}
		b.hasContrast(scheme)
	}
	if name != "" {
		b.picture(name)
	}
}

func (b tab) hasScheme(scheme string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b tab) hasWidth(width int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, 700))
}

// fits checks that nothing is cut off, beside the screen or on top of something else,
// and that everything can be hit with a finger (WCAG 2.2 §1.4.10, §2.5.8).
func (b tab) fits(how string) {
	b.t.Helper()
	const outside = `[...document.querySelectorAll("html, body, body *")].filter(e => {
		const r = e.getBoundingClientRect()
		return e.type != "hidden" && (e.scrollWidth > e.clientWidth && getComputedStyle(e).display != "inline" || r.right > innerWidth || r.left < 0)
	}).concat([...document.querySelectorAll("button, input:not([type=hidden])")].filter(e => e.getBoundingClientRect().height < 44)).map(e => e.outerHTML.slice(0, 80))`
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](outside))
	if err != nil || len(found) > 0 {
		b.t.Errorf("%s: cut off, or too small: %q, error %v", how, found, err)
	}
}

// hasContrast checks text for 4.5 to 1, and the edges of what can be used for 3 to 1
// (WCAG 2.2 §1.4.3, §1.4.11).
func (b tab) hasContrast(how string) {
	b.t.Helper()
	const low = `(() => {
		const rgb = c => c.match(/[\d.]+/g).map(Number)
		const light = c => { const [r, g, b] = rgb(c).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
		const ratio = (a, b) => { const [l, m] = [light(a), light(b)].sort((x, y) => y - x); return (l + 0.05) / (m + 0.05) }
		const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (rgb(c)[3] !== 0) return c } return "rgb(255, 255, 255)" }
		const out = []
		let checked = 0
		for (const e of document.querySelectorAll("body *")) {
			const s = getComputedStyle(e)
			const check = (what, a, b, least) => { checked++; if (ratio(a, b) < least) out.push(what + " of " + e.outerHTML.slice(0, 60) + ": " + ratio(a, b).toFixed(2)) }
			if (e.type == "hidden") continue
			if ([...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) || e.tagName == "INPUT") check("text", s.color, behind(e), 4.5)
			if (e.matches("button, input")) {
				if (rgb(s.backgroundColor)[3] === 0) check("edge", s.borderTopColor, behind(e.parentElement), 3)
				else check("button", s.backgroundColor, behind(e.parentElement), 3)
				e.focus({focusVisible: true}); check("focus", getComputedStyle(e).outlineColor, behind(e.parentElement), 3); e.blur()
			}
		}
		return checked < 3 ? ["nothing was checked"] : out
	})()`
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](low))
	if err != nil || len(found) > 0 {
		b.t.Errorf("%s: contrast too low: %q, error %v", how, found, err)
	}
}

// isAccessible checks what a screen reader is told.
func (b tab) isAccessible() {
	b.t.Helper()
	lang, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.documentElement.lang"))
	if err != nil || lang != "en" {
		b.t.Errorf("the page's language is %q, error %v", lang, err)
	}
	count := map[string]int{}
	for _, n := range b.tree() {
		role := axValue(n.Role)
		if n.Ignored {
			continue
		}
		if role == "heading" && axProperty(n, "level") == "1" {
			role = "h1"
		}
		count[role]++
		if slices.Contains([]string{"RootWebArea", "button", "textbox", "link", "group", "h1"}, role) && strings.TrimSpace(axValue(n.Name)) == "" {
			b.t.Errorf("a %s has no name", role)
		}
	}
	if count["main"] != 1 || count["h1"] != 1 || count["heading"] != 0 || count["RootWebArea"] != 1 {
		b.t.Errorf("the page has %v, want one main and one heading", count)
	}
}

// isTold checks that who cannot see the page is told the error: it is an alert, and
// the description of the field, which has the focus.
func (b tab) isTold(text string) {
	b.t.Helper()
	alert, field := false, false
	for _, n := range b.tree() {
		switch axValue(n.Role) {
		case "alert":
			alert = !n.Ignored
		case "textbox":
			field = axValue(n.Name) == "Code" && strings.Contains(axValue(n.Description), text) && axProperty(n, "invalid") == "true" && axProperty(n, "focused") == "true"
		}
	}
	if title, err := chromedp.Run(b.ctx, chromedp.Title()); err != nil || !alert || !field || !strings.HasPrefix(title, "Error: ") {
		b.t.Errorf("a screen reader is not told of the error: alert %t, field %t, title %q, error %v", alert, field, title, err)
	}
}

func (b tab) tree() []*accessibility.Node {
	b.t.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	return tree.Nodes
}

func axValue(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}

func axProperty(n *accessibility.Node, name accessibility.PropertyName) string {
	for _, p := range n.Properties {
		if p.Name == name {
			return axValue(p.Value)
		}
	}
	return ""
}

// TestBrowserRefusesToFrameThePages: clickjacking.
func TestBrowserRefusesToFrameThePages(t *testing.T) {
	h, local := startHouse(t), startApp(t)
	b := newTab(t, startBrowser(t))
	c := connect(t, h, "Notebook", local.URL+"/callback")
	b.open(c.link(), onLogin)
	b.click(onLogin, onConsent)
	site := onLocalhost(local.URL)
	for name, address := range map[string]string{
		"consent": c.link(), "login": c.link() + "&prompt=login", "device": h.url + "/oauth2/device", "error": h.url + "/oauth2/authorize?client_id=nobody",
	} {
		t.Run(name, func(t *testing.T) {
			b := b
			b.t = t
			if resp, _ := send(t, http.MethodGet, address, nil, ""); resp.StatusCode >= http.StatusInternalServerError {
				t.Fatalf("the page itself is answered %d", resp.StatusCode)
			}
			b.do(chromedp.Navigate(site + "/frame?" + url.Values{"page": {address}}.Encode()))
			tree, err := chromedp.Call(b.ctx, cdppage.GetFrameTree, cdp.Empty{})
			if err != nil || len(tree.FrameTree.ChildFrames) != 2 {
				t.Fatalf("frames %+v, error %v", tree.FrameTree, err)
			}
			framed, control := tree.FrameTree.ChildFrames[0].Frame, tree.FrameTree.ChildFrames[1].Frame
			if !strings.HasPrefix(framed.URL, "chrome-error://") || framed.UnreachableURL == "" || control.URL != site+"/framed" {
				t.Errorf("the frame shows %s for %s, and the control %s", framed.URL, framed.UnreachableURL, control.URL)
			}
			if said := strings.Join(b.refused(), " "); !strings.Contains(said, "frame") {
				t.Errorf("the browser does not say that it refused to frame the page: %q", said)
			}
		})
	}
}
