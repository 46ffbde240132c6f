package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// strict is a library that refuses what the standards do not allow, in a process of
// its own: clients/strict.mjs says what is spoken.
type strict struct {
	h   *house
	in  io.Writer
	out *bufio.Scanner
}

// strictMessage is a line that the process prints.
type strictMessage struct {
	Browse string      `json:"browse"`
	Device string      `json:"device"`
	Code   string      `json:"code"`
	Done   *strictDone `json:"done"`
	Error  string      `json:"error"`
}

// strictDone is what a case has led to.
type strictDone struct {
	Client string        `json:"client"`
	Tokens []tokenAnswer `json:"tokens"` // refreshed from one to the next
	Before object        `json:"before"`
	After  []object      `json:"after"`

	Statuses []int `json:"statuses"` // of the gateway
}

func startStrict(t *testing.T, h *house, library string) strict {
	t.Helper()
	cmd, stderr := program(deadline(t), t, nil, "node", library+".mjs", h.url, h.resource(), callback), newOutput()
	cmd.Stderr = stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatalf("start %s: %v", library, err)
	}
	t.Cleanup(func() {
		_ = in.Close() // the process ends with its input
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", library, stderr)
		}
	})
	return strict{h, in, bufio.NewScanner(out)}
}

// do has the library go through the case, with alice at the browser.
func (s strict) do(t *testing.T, command object) strictDone {
	t.Helper()
	ctx, alice := deadline(t), newRobot("alice", "approve")
	m, err := s.ask(command)
	for err == nil && m.Done == nil {
		var answer object
		if answer, err = s.person(ctx, alice, m); err == nil {
			m, err = s.ask(answer)
		}
	}
	if err != nil {
		t.Fatalf("%v: %v", command["do"], err)
	}
	return *m.Done
}

// person does what the library cannot.
func (s strict) person(ctx context.Context, r *robot, m strictMessage) (object, error) {
	switch {
	case m.Browse != "":
		seen, err := r.authorizeTo(ctx, m.Browse, callback)
		if err != nil {
			return nil, err
		}
		return object{"redirect": seen.redirect.String()}, nil
	case m.Device != "":
		seen, err := r.connect(ctx, m.Device, m.Code)
		if err == nil && !strings.Contains(seen.pages[len(seen.pages)-1].text, "The device is connected") {
			err = fmt.Errorf("the last page says %s", seen.pages[len(seen.pages)-1].text)
		}
		return object{}, err
	default:
		return nil, fmt.Errorf("unknown line %+v", m)
	}
}

// ask sends a line and reads the one that answers it.
func (s strict) ask(line object) (strictMessage, error) {
	var m strictMessage
	b, err := json.Marshal(line)
	if err != nil {
		return m, err
	}
	if _, err := s.in.Write(append(b, '\n')); err != nil {
		return m, err
	}
	if !s.out.Scan() {
		return m, fmt.Errorf("the process has ended: %w", errors.Join(s.out.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(s.out.Bytes(), &m); err != nil {
		return m, err
	}
	if m.Error != "" {
		return m, errors.New(m.Error)
	}
	return m, nil
}

// checkTokens checks that each of the tokens is another, is the subject's by that
// client, and opens the gateway.
func (s strict) checkTokens(t *testing.T, got strictDone, subject string, n int) {
	t.Helper()
	if len(got.Tokens) != n {
		t.Fatalf("%d answers with tokens, want %d", len(got.Tokens), n)
	}
	var seen []string
	for i, a := range got.Tokens {
		claims := part(t, a.AccessToken, 1)
		if claims["sub"] != subject || claims["client_id"] != got.Client || claims["scope"] != "mcp:tools" || !strings.EqualFold(a.TokenType, "Bearer") {
			t.Errorf("tokens %d: %s token of the claims %v, want a bearer token of %s by %s for mcp:tools", i, a.TokenType, claims, subject, got.Client)
		}
		if _, body := open(t, s.h, a.AccessToken).call(t, "list_messages", `{"limit":2}`); !bytes.Contains(body, []byte("Gale warning")) {
			t.Errorf("list_messages with access token %d: %s", i, body)
		}
		if refreshable := n > 1; (a.RefreshToken != "") != refreshable {
			t.Errorf("tokens %d have a refresh token: %t, want %t", i, !refreshable, refreshable)
		}
		if slices.Contains(seen, a.AccessToken) || a.RefreshToken != "" && slices.Contains(seen, a.RefreshToken) {
			t.Errorf("tokens %d are as before", i)
		}
		seen = append(seen, a.AccessToken, a.RefreshToken)
	}
}

// checkBound checks that the tokens are bound to one key, with which the gateway opens,
// and that it does not without.
func (s strict) checkBound(t *testing.T, got strictDone) {
	t.Helper()
	if diff := cmp.Diff([]int{200, 200}, got.Statuses); diff != "" || len(got.Tokens) != 2 {
		t.Fatalf("the gateway answered (-want +got):\n%s", diff)
	}
	var keys []any
	for i, a := range got.Tokens {
		claims := part(t, a.AccessToken, 1)
		cnf, _ := claims["cnf"].(map[string]any)
		if keys = append(keys, cnf["jkt"]); keys[i] == nil || keys[i] != keys[0] || !strings.EqualFold(a.TokenType, "DPoP") {
			t.Errorf("tokens %d: %s token of the claims %v, want one that is bound to the key of the first", i, a.TokenType, claims)
		}
		req, err := http.NewRequestWithContext(deadline(t), http.MethodPost, s.h.resource(), strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+a.AccessToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("access token %d without its key: HTTP %d", i, resp.StatusCode)
		}
	}
}

// TestStrictClients goes through everything that the server offers with libraries
// for any authorization server, which nobody has taught about this one.
func TestStrictClients(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	for _, library := range []string{"openid-client", "oauth4webapi"} {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			h := startHouseWith(t, t.TempDir(), "0", "--verbose")
			strictCases(t, startStrict(t, h, library))
			checkSilent(t, h)
			t.Run("client credentials with private_key_jwt", func(t *testing.T) { keyedCredentials(t, library) })
		})
	}
}

func strictCases(t *testing.T, s strict) {
	for _, method := range []string{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"} {
		for _, pushed := range []bool{false, true} {
			name := "code, PKCE, iss and refresh with " + method
			if pushed {
				name = "pushed: " + name
			}
			t.Run(name, func(t *testing.T) {
				s.checkTokens(t, s.do(t, object{"do": "code", "method": method, "par": pushed}), "alice", 2)
			})
		}
	}
	for _, method := range []string{"client_secret_basic", "client_secret_post"} {
		t.Run("client credentials with "+method, func(t *testing.T) {
			secret := strings.TrimSpace(readFile(t, filepath.Join(s.h.data, "dev-agent.secret")))
			got := s.do(t, object{"do": "credentials", "method": method, "id": "dev-agent", "secret": secret})
			s.checkTokens(t, got, "dev-agent", 1)
		})
	}
	t.Run("device", func(t *testing.T) {
		s.checkTokens(t, s.do(t, object{"do": "device"}), "alice", 2)
	})
	t.Run("DPoP with nonces", func(t *testing.T) { s.checkBound(t, s.do(t, object{"do": "dpop"})) })
	t.Run("introspection and revocation", func(t *testing.T) {
		got := s.do(t, object{"do": "revoke"})
		for name, want := range (object{"active": true, "iss": s.h.url, "sub": "alice", "aud": s.h.resource(), "client_id": got.Client, "scope": "mcp:tools"}) {
			if got.Before[name] != want {
				t.Errorf("introspection says %s is %v, want %v", name, got.Before[name], want)
			}
		}
		inactive := object{"active": false}
		if diff := cmp.Diff([]object{inactive, inactive}, got.After); diff != "" {
			t.Errorf("introspection of the access and the refresh token after the second was revoked (-want +got):\n%s", diff)
		}
	})
}

// keyedCredentials is a workload that the configuration knows by its key, which
// development mode has none of: it needs wicketgate serve.
func keyedCredentials(t *testing.T, library string) {
	private := newJWK(t)
	h := startServe(t, "clients:\n  - {id: report-agent, auth_method: private_key_jwt, jwks_file: keys.json}\n", map[string]string{
		"keys.json": publicSet(t, private), "access.yaml": readers("{clients: [report-agent]}")})
	s := startStrict(t, h, library)
	s.checkTokens(t, s.do(t, object{"do": "credentials", "method": "private_key_jwt", "id": "report-agent", "jwk": private}), "report-agent", 1)
	checkSaysNothing(t, h)
}

// connect has the person look at a device that shows the code, and open the address
// that it shows beside it.
func (r *robot) connect(ctx context.Context, verificationURI, userCode string) (visit, error) {
	u, err := url.Parse(verificationURI)
	if err != nil {
		return visit{}, err
	}
	return r.walk(ctx, &walk{origin: origin(u), userCode: userCode}, verificationURI)
}

// enter enters the user code where a form asks for it. It is done as well at a page
// without any form, which is the last.
func (w *walk) enter(ctx context.Context, p page) (next *http.Request, done bool, err error) {
	done = true
	for form := range forms(p.root) {
		done = false
		values, _ := fill(form, "", "")
		if values.Has("user_code") {
			values.Set("user_code", w.userCode)
			next, err = w.post(ctx, p, form, values)
			return next, true, err
		}
	}
	return nil, done, nil
}
