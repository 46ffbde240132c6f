package oidc_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/wicketgate/wicketgate/internal/needed"
)

var idpDir = filepath.Join("..", "..", "e2e", "idp")

// idp is a running oidc-provider: e2e/idp/idp.mjs says who is there.
type idp struct {
	issuer string
	cmd    *exec.Cmd
	stdin  io.Closer // it ends with it: unreferenced, it would be collected and closed
	stderr *logs
}

// sharedIDP runs until the test binary ends.
var sharedIDP = sync.OnceValues(func() (*idp, error) { return startIDP(0) })

// realIDP returns the IdP. Without Node.js a developer's quick run goes without;
// anything else that is missing is an error.
func realIDP(t *testing.T) *idp {
	t.Helper()
	needNode(t)
	i, err := sharedIDP()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func needNode(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(idpDir, "node_modules", "oidc-provider"))
	}
	if err != nil {
		needed.Missing(t, "Node.js or oidc-provider is not installed: run tools/npm-ci.sh e2e/idp")
	}
}

func startIDP(port int) (*idp, error) {
	if _, err := os.Stat(filepath.Join(idpDir, "node_modules", "oidc-provider")); err != nil {
		return nil, fmt.Errorf("oidc-provider is not installed: run tools/npm-ci.sh e2e/idp: %w", err)
	}
	options, err := json.Marshal(object{"port": port, "redirectURIs": []string{redirectURI}, "clientSecret": secret})
	if err != nil {
		return nil, err
	}
	i := &idp{cmd: exec.Command("node", "idp.mjs", string(options)), stderr: &logs{}}
	i.cmd.Dir, i.cmd.Stderr = idpDir, i.stderr
	in, inErr := i.cmd.StdinPipe()
	out, outErr := i.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, err
	}
	i.stdin = in
	if err := i.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var ready struct{ Issuer string }
		if json.Unmarshal(lines.Bytes(), &ready) == nil && ready.Issuer != "" {
			i.issuer = ready.Issuer
			return i, nil
		}
	}
	return nil, fmt.Errorf("node ended before it was ready: %w: %s", errors.Join(lines.Err(), i.cmd.Wait()), i.stderr)
}

func (i *idp) stop() {
	_ = i.stdin.Close()
	_ = i.cmd.Wait()
}

// browser is one with a person in front of it. It keeps cookies.
type browser struct{ client *http.Client }

func newBrowser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it never does without options
	}
	return &browser{&http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), redirectURI) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// seen is what the browser shows: a page of the IdP, or that it was sent back.
type seen struct {
	url    *url.URL
	status int
	title  string
	body   string
	back   url.Values // the parameters of the callback, nil on a page
}

var title = regexp.MustCompile(`<title>(.*?)</title>`)

func (b *browser) open(t *testing.T, u string) seen {
	t.Helper()
	resp, err := b.client.Get(u)
	return look(t, resp, err)
}

func (b *browser) post(t *testing.T, s seen, fields ...string) seen {
	t.Helper()
	form := url.Values{}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		form.Set(name, value)
	}
	resp, err := b.client.PostForm(s.url.String(), form)
	return look(t, resp, err)
}

// logIn answers the login page.
func (b *browser) logIn(t *testing.T, s seen, who string, fields ...string) seen {
	t.Helper()
	s.wantPage(t, "Log in")
	return b.post(t, s, append([]string{"login=" + who, "password=" + who + "-password"}, fields...)...)
}

func look(t *testing.T, resp *http.Response, err error) seen {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	s := seen{url: resp.Request.URL, status: resp.StatusCode, body: string(body)}
	if m := title.FindSubmatch(bytes.TrimSpace(body)); m != nil {
		s.title = string(m[1])
	}
	if to, err := resp.Location(); err == nil {
		s.back = to.Query()
	}
	return s
}

func (s seen) wantPage(t *testing.T, title string) {
	t.Helper()
	if s.title != title || s.back != nil {
		t.Fatalf("the browser shows %q (%d), want %q; callback %v; %s", s.title, s.status, title, s.back, s.body)
	}
}
