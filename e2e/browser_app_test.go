package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// app is a client that waits for its code.
type app struct {
	*httptest.Server
	document []byte // its client ID metadata document, if it has one

	mu   sync.Mutex // guards what follows
	seen []url.Values
}

// startApp starts a program on this computer.
func startApp(t *testing.T) *app {
	t.Helper()
	a := new(app)
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := `<p id="arrived">You may close this page.</p>`
	switch q := r.URL.Query(); {
	case r.URL.Path == "/client.json":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(a.document)
		return
	case r.URL.Path == "/script":
		body = `<p>no script</p><script>document.querySelector("p").textContent = "a script"</script>`
	case r.URL.Path == "/frame": // of another site, and of our own beside it
		body = `<iframe src="` + strings.ReplaceAll(q.Get("page"), "&", "&amp;") + `"></iframe><iframe src="/framed"></iframe>`
	case r.URL.Path == "/forward": // as those do that say so on a page of their own
		http.Redirect(w, r, "https://www.example/", http.StatusFound)
		return
	case q.Has("code"):
		a.mu.Lock()
		a.seen = append(a.seen, q)
		a.mu.Unlock()
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte(body))
}

// onLocalhost is the other name of this computer.
func onLocalhost(address string) string { return strings.Replace(address, "127.0.0.1", "localhost", 1) }

// codes are those that browsers brought.
func (a *app) codes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, q := range a.seen {
		out = append(out, q.Get("code"))
	}
	return out
}

// webApp is a client on the web, for browsers with these options.
type webApp struct {
	*app
	redirect string
	options  []chromedp.ExecAllocatorOption
}

func startWebApp(t *testing.T) webApp {
	t.Helper()
	a := new(app)
	a.Server = httptest.NewTLSServer(a)
	t.Cleanup(a.Close)
	return webApp{a, "https://app.example/callback", []chromedp.ExecAllocatorOption{chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example:443 "+a.Listener.Addr().String())}}
}
