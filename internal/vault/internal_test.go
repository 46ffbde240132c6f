package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestOwnLoginIsNotPrinted: fmt asks no methods of fields, and would print the token.
func TestOwnLoginIsNotPrinted(t *testing.T) {
	own := &Own{held: held{Auth: Auth{Token: NewToken("hvs.CAESIGsecret")}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, own); strings.Contains(text, "CAESIG") || strings.Contains(text, "4341455349") {
			t.Errorf("%s: %s", verb, text)
		}
	}
}

// FuzzRefused: whatever is answered, the error is one short line, and what was sent in
// secret is not in it.
func FuzzRefused(f *testing.F) {
	f.Add(403, "permission denied: ", "hvs.CAESIGsecret")
	f.Add(400, "no such\nrole", "a pass\nword")
	f.Add(503, "Vault is sealed", "x.y.z")
	f.Add(500, "{\"errors\":", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl")
	f.Add(400, strings.Repeat("x", 4000), "hvs.CAESIGsecret")
	f.Fuzz(func(t *testing.T, status int, said, secret string) {
		r := request{what: "read x", token: NewToken(secret)}
		body, err := json.Marshal(map[string][]string{"errors": {said, said + secret, secret + said}})
		if err != nil {
			t.Skip()
		}
		for _, b := range [][]byte{body, []byte(said)} {
			err := r.refused(status, b)
			text := err.Error()
			var e *Error
			if !errors.As(err, &e) || e.Why == "" || len(text) > 1000 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
				t.Fatalf("error of %d bytes: %q", len(text), text)
			}
			left := strings.ReplaceAll(strings.ReplaceAll(e.Err.Error(), hidden, ""), "…", "")
			if len(secret) >= 12 && utf8.ValidString(secret) && folded(secret) == secret && strings.Contains(left, secret) {
				t.Fatalf("%q is in the error: %q", secret, text)
			}
		}
	})
}

// FuzzAnswer: whatever is answered to a login or a read, it is a value or an Error.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"auth":{"client_token":"hvs.x","accessor":"a","lease_duration":60}}`)
	f.Add(`{"lease_id":"x","lease_duration":9223372036854775807,"data":{"k":"v"}}`)
	f.Add(`{"errors":["x"],"k":1}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, body string) {
		r := request{what: "login jwt", login: true}
		s, err := r.parse([]byte(body))
		if err != nil {
			return
		}
		if a, err := r.auth(s); err == nil && (a.Token.IsZero() || a.TTL < 0 || a.Batch != (a.Accessor == "")) {
			t.Errorf("auth = %+v of %q", a, body)
		}
		if s, err := r.secret(s); err == nil && s.TTL < 0 {
			t.Errorf("TTL = %v of %q", s.TTL, body)
		}
	})
}

// TestPlainHTTPStaysOnThisMachine, whatever localhost is in a hosts file.
func TestPlainHTTPStaysOnThisMachine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "elsewhere")
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": socket} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		conn, err := dial(true)(t.Context(), network, l.Addr().String())
		if (err == nil) != (network == "tcp") {
			t.Errorf("dial %s: %v", network, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	for a, want := range map[net.Addr]bool{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}: true, &net.TCPAddr{IP: net.IPv6loopback}: true,
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}: false, &net.UnixAddr{Name: "x"}: false, &net.TCPAddr{}: false,
	} {
		if thisMachine(a) != want {
			t.Errorf("thisMachine(%v) = %v", a, !want)
		}
	}
}
