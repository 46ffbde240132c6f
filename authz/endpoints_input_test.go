package authz_test

import (
	"bytes"
	"cmp"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// TestBodyThatIsTooLong, as a whole, in chunks, and by a byte.
func TestBodyThatIsTooLong(t *testing.T) {
	each(t, func(e endpoint) bool { return e.limit > 0 }, func(t *testing.T, w *world, e endpoint) {
		good := e.request(w)
		body := string(must(io.ReadAll(good.Body))(t))
		pad := func(n int) string {
			if e.object != nil {
				return body + strings.Repeat(" ", n-len(body))
			}
			return body + "&x=" + strings.Repeat("a", n-len(body)-3)
		}
		send := func(body string, chunked bool) answer {
			r := e.request(w)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			if chunked {
				r.ContentLength = -1
			}
			r.RemoteAddr = "127.0.0.1:1"
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, r)
			a := answer{status: rec.Code, header: rec.Header(), body: rec.Body.String()}
			if !e.page && a.body != "" {
				noError(t, json.Unmarshal([]byte(a.body), &a))
			}
			return a
		}
		for _, n := range []int{e.limit + 1, 1 << 20} {
			for _, chunked := range []bool{false, true} {
				a := send(pad(n), chunked)
				w.wantRefusal(e, a)
				if !strings.Contains(a.body, "too large") {
					t.Errorf("%d bytes, chunked %v: %s", n, chunked, a.body)
				}
			}
		}
		if a := send(pad(e.limit), false); strings.Contains(a.body, "too large") {
			t.Errorf("a body of just the limit: %d %s", a.status, a.body)
		}
	})
}

func TestParameterThatComesTwice(t *testing.T) {
	each(t, all, func(t *testing.T, w *world, e endpoint) {
		for name, values := range e.params() {
			for _, second := range []string{values[0], "", "other"} {
				a := w.tryOne(e.with(change{name: {values[0], second}}).request(w))
				if name == "resource" && e.path == "/oauth2/authorize" { // the client is told, by redirect
					if !strings.Contains(a.header.Get("Location"), "error=invalid_target") {
						t.Errorf("%s: %d %s", name, a.status, a.header.Get("Location"))
					}
					continue
				}
				w.wantRefusal(e, a)
			}
		}
		if e.params() != nil {
			w.wantRefusal(e, w.tryOne(e.with(change{"unknown": {"a", "b"}}).request(w)))
		}
		for name, v := range e.object {
			r := e.request(w)
			body := strings.TrimSuffix(e.json(), "}") + `,"` + name + `":` + v + "}"
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			w.wantRefusal(e, w.tryOne(r))
		}
	})
}

// TestTwoAuthenticationMethodsAtOnce, each of them right.
func TestTwoAuthenticationMethodsAtOnce(t *testing.T) {
	each(t, func(e endpoint) bool { return e.clients }, func(t *testing.T, w *world, e endpoint) {
		id, secret := e.form.Get("client_id"), e.form.Get("client_secret")
		assertion := change{"client_assertion_type": {oauth.AssertionJWTBearer}, "client_assertion": {es256(t, w.claims(id))}}
		noSecret := change{"client_secret": nil}
		for name, test := range map[string]struct {
			change []change
			basic  int
		}{
			"Basic and a secret in the body":     {nil, 1},
			"Basic and an assertion":             {[]change{noSecret, assertion}, 1},
			"a secret and an assertion":          {[]change{assertion}, 0},
			"Basic twice":                        {[]change{noSecret}, 2},
			"Basic, a secret and an assertion":   {[]change{assertion}, 1},
			"Basic and another client in a body": {[]change{noSecret, {"client_id": {"agent"}}}, 1},
		} {
			r := e.with(test.change...).request(w)
			for range test.basic {
				r.SetBasicAuth(id, secret)
				r.Header["Authorization"] = append(r.Header["Authorization"], r.Header.Get("Authorization"))[:test.basic]
			}
			a := w.tryOne(r)
			w.wantRefusal(e, a)
			if a.Error != "invalid_request" {
				t.Errorf("%s: %s", name, a.body)
			}
		}
		r := e.with(noSecret).request(w)
		r.SetBasicAuth(id, secret)
		if a := w.tryOne(r); a.Error == "invalid_client" || a.Description == "the client authenticated in more than one way" {
			t.Errorf("Basic alone: %d %s", a.status, a.body)
		}
	})
}

func TestBodyOfTheWrongType(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	each(t, func(e endpoint) bool { return e.limit > 0 }, func(t *testing.T, w *world, e endpoint) {
		good := must(io.ReadAll(e.request(w).Body))(t)
		var multi bytes.Buffer
		for name, values := range e.params() {
			multi.WriteString("--x\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + values[0] + "\r\n")
		}
		multi.WriteString("--x--\r\n")
		type body struct{ contentType, body string }
		tests := map[string]body{
			"multipart":         {"multipart/form-data; boundary=x", multi.String()},
			"no body":           {cmp.Or(map[bool]string{true: "application/json"}[e.object != nil], form), ""},
			"XML":               {"application/xml", "<a/>"},
			"zeros":             {form, strings.Repeat("\x00", 100)},
			"percent signs":     {form, "%%%=%%"},
			"a bad escape":      {form, string(good) + "&a=%zz"},
			"a semicolon":       {form, string(good) + ";a=b"},
			"a list":            {"application/json", "[]"},
			"null":              {"application/json", "null"},
			"a deep nest":       {"application/json", strings.Repeat("[", 8000)},
			"a UTF-16 document": {"application/json", "\xff\xfe{\x00}\x00"},
		}
		if e.object == nil { // a JSON body may come under any name: nothing but JSON parses
			for _, name := range []string{"", "text/plain", "application/json", "application/x-www-form-urlencoded2", "multipart/form-data", form + ", text/plain", "/", "application/x-www-form-urlencoded;;"} {
				tests["good, under "+name] = body{name, string(good)}
			}
		}
		for name, test := range tests {
			r := w.request(e.method, e.path, test.contentType, test.body)
			maps.Copy(r.Header, e.header)
			a := w.tryOne(r)
			w.wantSober(e, a)
			if a.status/100 != 4 || a.header.Get("Location") != "" {
				t.Errorf("%s: answer %d to %q: %s", name, a.status, a.header.Get("Location"), a.brief())
			}
		}
	})
}

// odd is what a parameter may be, and should not.
var odd = map[string]string{
	"NUL": "\x00", "NUL within": "a\x00b", "no UTF-8": "\xff\xfe", "half a rune": "\xe2\x82", "a surrogate": "\xed\xa0\x80", "overlong": "\xc0\xaf", "CRLF": "a\r\nSet-Cookie: a=b",
	"8 KiB": strings.Repeat("a", 8<<10), "percent signs": "%%%00", "an RTL override": "\u202e", "a byte order mark": "\ufeff", "a template": "{{.}}${7*7}", "SQL": "' OR 1=1--", "a path": "../../etc/passwd",
	"a large number": "1e999", "a negative one": "-1", "empty": "", "a space": " ",
}

// TestOddParametersAreNoServerError, in each place one after the other.
func TestOddParametersAreNoServerError(t *testing.T) {
	each(t, all, func(t *testing.T, w *world, e endpoint) {
		for what, v := range odd {
			for name := range e.params() {
				w.wantSober(e, w.tryOne(e.with(change{name: {v}}).request(w)))
			}
			if e.params() != nil {
				w.wantSober(e, w.tryOne(e.with(change{v: {v}}).request(w)))
			}
			for name := range e.object {
				for _, raw := range []string{`"` + strings.NewReplacer("\x00", `\u0000`, "\r", `\r`, "\n", `\n`).Replace(v) + `"`, "0", "-1e999", "null", "true", "[null]", "[[]]", "{}", `["\u0000"]`} {
					changed := e
					changed.object = maps.Clone(e.object)
					changed.object[name] = raw
					w.clock.advance(time.Minute)
					w.wantSober(e, w.do(changed.request(w)))
				}
			}
			if t.Failed() {
				t.Fatalf("the last was %s", what)
			}
		}
	})
}

// marker is in no answer, in whatever spelling.
const marker = "zzmarker"

// TestInputIsNotEchoed: not in a body, not in a header. What the client may have back
// by the protocol is left alone: its state, and where its redirect URI is its own.
func TestInputIsNotEchoed(t *testing.T) {
	each(t, all, func(t *testing.T, w *world, e endpoint) {
		look := func(what string, r *http.Request) {
			t.Helper()
			a := w.tryOne(r)
			w.wantSober(e, a)
			var header bytes.Buffer
			noError(t, a.header.Write(&header))
			for _, s := range []string{a.body, header.String()} {
				if strings.Contains(strings.ToLower(s), marker) {
					t.Errorf("%s comes back: %d %s", what, a.status, s)
				}
			}
		}
		for name := range e.params() {
			if name != "state" && name != "login_hint" && name != "acr_values" { // the last two are for the IdP
				look(name, e.with(change{name: {"<b>" + marker + "\"'"}}).request(w))
				look(name, e.with(change{name: {e.params().Get(name) + marker}}).request(w))
			}
			look("the name of another parameter", e.with(change{marker: {"x"}}).request(w))
			look("a parameter that comes twice", e.with(change{marker: {marker, marker}}).request(w))
		}
		for name := range e.object {
			changed := e
			changed.object = maps.Clone(e.object)
			changed.object[name] = `{"` + marker + `":"<b>` + marker + `"}`
			look(name, changed.request(w))
		}
		for _, name := range []string{"Content-Type", "Authorization", "Origin", "Referer", "Cookie", "User-Agent", "Accept", "X-Request-Id", "X-Forwarded-Host", "X-Forwarded-For", "Forwarded"} {
			r := e.request(w)
			r.Header.Set(name, "<b>"+marker)
			if name == "Authorization" {
				r.Header.Set(name, "Basic "+marker)
			}
			if name == "Origin" && e.page && e.method == "POST" { // from another site: no page
				a := w.tryOne(r)
				if a.status != http.StatusForbidden || strings.Contains(a.body, marker) {
					t.Errorf("from another origin: %d %s", a.status, a.body)
				}
				continue
			}
			look("the header "+name, r)
		}
	})
}
