package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/needed"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/sqlite"
)

const withDoors = `clients:
  - {id: ` + agentID + `, secret_file: agent.secret, grant_types: [client_credentials, "urn:ietf:params:oauth:grant-type:token-exchange"]}
  - {id: signer, auth_method: private_key_jwt, jwks_file: theirs.json}
  - {id: host, secret_file: host.secret, grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"]}
  - {id: pod, auth_method: workload_identity}
  - {id: "spiffe://example.org/agent/*", auth_method: spiffe_jwt}
spiffe: {trust_domains: [{name: example.org, bundle_file: bundle.json}]}
trusted_issuers:
  - {issuer: https://partner.example, jwks_file: theirs.json, subject_tokens: {clients: [` + agentID + `], servers: [mail]}}
  - {issuer: https://idp.example.com, jwks_file: theirs.json, id_jag: true}
  - issuer: https://kubernetes.example
    jwks_file: theirs.json
    workloads: {identities: [{subject: "system:serviceaccount:agents:pod", client: pod}]}
`

// doors is a running server, and the keys of everybody who signs.
type doors struct {
	*world
	http    *http.Client
	ours    *ecdsa.PrivateKey // the server's own
	kid     string
	theirs  assertions
	prove   *ecdsa.PrivateKey // of DPoP proofs
	nonce   string
	session string
}

// door is where somebody brings a JWT: make is a new good one each time, and present
// brings one. It reports whether the token was taken for what it says.
type door struct {
	name    string
	make    func() good
	present func(raw string) (taken bool, status int, body string)
}

func newDoors(t *testing.T) *doors {
	d := &doors{world: newWorld(t, nil), theirs: newAssertions(t), prove: newAssertions(t).key}
	d.write("theirs.json", d.theirs.keySet())
	d.write("bundle.json", strings.Replace(d.theirs.keySet(), `"use":"sig"`, `"use":"jwt-svid"`, 1))
	d.write("host.secret", strings.Repeat("e", 64))
	d.start(d.config(withTLS + withDoors))
	d.http = d.client()
	d.http.Transport.(*http.Transport).ForceAttemptHTTP2 = false // whose peers refuse long headers themselves
	d.ours, d.kid = d.signingKey()
	raw, refused := d.accessToken(d.http)
	if raw == "" {
		t.Fatal(refused)
	}
	req := d.message(raw, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	resp, err := d.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if d.session = resp.Header.Get("Mcp-Session-Id"); d.session == "" {
		t.Fatalf("initialize: %s", resp.Status)
	}
	return d
}

// signingKey reads the key with which the running server signs.
func (d *doors) signingKey() (*ecdsa.PrivateKey, string) {
	d.t.Helper()
	data := filepath.Join(d.dir, "data")
	store, err := sqlite.Open(d.t.Context(), filepath.Join(data, fileStore))
	if err != nil {
		d.t.Fatal(err)
	}
	defer store.Close()
	kek, err := keys.LoadKEK(filepath.Join(data, fileKEK))
	if err != nil {
		d.t.Fatal(err)
	}
	ring, err := keys.Open(d.t.Context(), store, kek, time.Now)
	if err != nil {
		d.t.Fatal(err)
	}
	k := ring.SigningKey()
	return k.Key.(*ecdsa.PrivateKey), k.KeyID
}

func (d *doors) message(raw, body string) *http.Request {
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.issuer+"/mcp/mail", strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if raw != "" {
		req.Header["Authorization"] = []string{"Bearer " + strings.NewReplacer("\n", " ", "\r", " ").Replace(raw)}
	}
	if d.session != "" {
		req.Header["Mcp-Session-Id"] = []string{d.session}
	}
	return req
}

// send answers 431 where the server does not even read the headers to their end.
func (d *doors) send(req *http.Request) (int, string) {
	status, body, err := roundTrip(d.http.Transport, req)
	if err != nil && len(req.Header.Get("Authorization"))+len(req.Header.Get("Dpop")) > 1<<19 {
		return http.StatusRequestHeaderFieldsTooLarge, ""
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return status, body
}

// jwt is a good token of a signer; edits replace claims.
func (d *doors) jwt(key *ecdsa.PrivateKey, kid, typ string, types []string, edits map[string]any) good {
	now := time.Now().Unix()
	claims := map[string]any{"iss": d.issuer, "sub": agentID, "aud": d.issuer, "client_id": agentID, "scope": "mcp:tools", "jti": rand.Text(), "txn": "t", "iat": now, "exp": now + 60}
	maps.Copy(claims, edits)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(claims)
	if err != nil {
		d.t.Fatal(err)
	}
	return good{header: `{"alg":"ES256","kid":"` + kid + `","typ":"` + typ + `"}`, claims: string(text), key: key, types: types, named: "jti"}
}

// ask posts to the token endpoint; taken is a token that came out.
func (d *doors) ask(as []string, header http.Header, params ...string) (bool, int, string) {
	form := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.issuer+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		d.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if as != nil {
		req.SetBasicAuth(as[0], as[1])
	}
	status, body := d.send(req)
	raw, _ := tokenIn(status, body)
	return raw != "", status, body
}

func (d *doors) all() []door {
	mail, agent := d.issuer+"/mcp/mail", []string{agentID, agentSecret}
	own := func(edits map[string]any) func() good {
		return func() good {
			g := map[string]any{"aud": mail}
			maps.Copy(g, edits)
			return d.jwt(d.ours, d.kid, "at+jwt", nil, g)
		}
	}
	exchange := []string{"grant_type", oauth.GrantTokenExchange, "subject_token_type", oauth.TokenTypeAccessToken, "resource", mail}
	subject := func(raw string) (bool, int, string) {
		return d.ask(agent, nil, append(exchange, "subject_token", raw)...)
	}
	bearing := []string{"grant_type", oauth.GrantJWTBearer, "resource", mail}
	list := `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	return []door{
		{"access token at the gateway", own(nil), func(raw string) (bool, int, string) {
			status, body := d.send(d.message(raw, list))
			return strings.Contains(body, `"tools"`), status, body
		}},
		{"tool token at the gateway", d.toolToken(own), func(raw string) (bool, int, string) {
			status, body := d.send(d.message(raw, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"list_messages"}}`))
			return strings.Contains(body, `"result"`), status, body
		}},
		{"subject_token", own(nil), subject},
		{"actor_token", own(nil), func(raw string) (bool, int, string) {
			g := own(nil)()
			return d.ask(agent, nil, append(exchange, "subject_token", g.signed(g.header, g.claims), "actor_token", raw, "actor_token_type", oauth.TokenTypeAccessToken)...)
		}},
		{"subject_token of another issuer", func() good {
			return d.jwt(d.theirs.key, "1", "at+jwt", []string{"application/at+jwt"}, map[string]any{"iss": "https://partner.example", "sub": "alice", "client_id": "app", "txn": nil})
		}, subject},
		{"client assertion", func() good {
			return d.jwt(d.theirs.key, "1", "JWT", []string{"", "client-authentication+jwt"}, map[string]any{"iss": "signer", "sub": "signer", "client_id": nil, "scope": nil, "txn": nil})
		}, func(raw string) (bool, int, string) {
			return d.ask(nil, nil, "grant_type", "client_credentials", "resource", mail, "client_assertion_type", oauth.AssertionJWTBearer, "client_assertion", raw)
		}},
		{"ID-JAG", func() good {
			return d.jwt(d.theirs.key, "1", "oauth-id-jag+jwt", nil, map[string]any{"iss": "https://idp.example.com", "sub": "alice", "client_id": "host", "resource": mail, "txn": nil})
		}, func(raw string) (bool, int, string) {
			return d.ask([]string{"host", strings.Repeat("e", 64)}, nil, append(bearing, "assertion", raw)...)
		}},
		{"workload's token", func() good {
			g := d.jwt(d.theirs.key, "1", "JWT", []string{"", "JOSE"}, map[string]any{"iss": "https://kubernetes.example", "sub": "system:serviceaccount:agents:pod",
				"aud": d.issuer + "/oauth2/token", "client_id": nil, "scope": nil, "txn": nil})
			g.named = "sub"
			return g
		}, func(raw string) (bool, int, string) { return d.ask(nil, nil, append(bearing, "assertion", raw)...) }},
		{"JWT-SVID", func() good {
			g := d.jwt(d.theirs.key, "1", "JWT", []string{"", "JOSE"}, map[string]any{"iss": nil, "sub": "spiffe://example.org/agent/a", "client_id": nil, "scope": nil, "txn": nil})
			g.named = "sub"
			return g
		}, func(raw string) (bool, int, string) {
			return d.ask(nil, nil, "grant_type", "client_credentials", "resource", mail, "client_assertion_type", oauth.AssertionJWTSPIFFE, "client_assertion", raw)
		}},
		{"DPoP proof", d.proof, func(raw string) (bool, int, string) {
			return d.ask(agent, http.Header{"Dpop": {strings.NewReplacer("\n", " ", "\r", " ").Replace(raw)}}, "grant_type", "client_credentials", "resource", mail)
		}},
	}
}

// toolToken is one for list_messages without arguments, of the definition that the
// gateway knows.
func (d *doors) toolToken(own func(map[string]any) func() good) func() good {
	g := own(nil)()
	var raw string
	eventually(d.t, 10*time.Second, "a tool token, once the gateway knows the tools", func() bool {
		_, status, answer := d.ask([]string{agentID, agentSecret}, nil, "grant_type", oauth.GrantTokenExchange, "subject_token_type", oauth.TokenTypeAccessToken, "resource", d.issuer+"/mcp/mail",
			"subject_token", g.signed(g.header, g.claims), "scope", "tool:list_messages",
			"authorization_details", `[{"type":"mcp_tool_call","server":"mail","tool":"list_messages","arguments":{}}]`)
		raw, _ = tokenIn(status, answer)
		return raw != ""
	})
	var c map[string]any
	payload, err := b64.DecodeString(strings.Split(raw, ".")[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		d.t.Fatalf("tool token: %v", err)
	}
	return own(map[string]any{"scope": c["scope"], "authorization_details": c["authorization_details"], "ancestors": []string{"a"}})
}

// proof is one for the token endpoint, with a nonce of the server's.
func (d *doors) proof() good {
	jwk, err := (&jose.JSONWebKey{Key: d.prove.Public()}).MarshalJSON()
	if err != nil {
		d.t.Fatal(err)
	}
	claims := fmt.Sprintf(`{"jti":%q,"htm":"POST","htu":"%s/oauth2/token","iat":%d,"nonce":%q}`, rand.Text(), d.issuer, time.Now().Unix(), d.nonceNow())
	return good{header: `{"alg":"ES256","jwk":` + string(jwk) + `,"typ":"dpop+jwt"}`, claims: claims, key: d.prove, keyless: true, named: "jti"}
}

// nonceNow is the server's nonce, which it says to whoever comes without one.
func (d *doors) nonceNow() string {
	if d.nonce != "" {
		return d.nonce
	}
	d.nonce = "none"
	g := d.proof()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.issuer+"/oauth2/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Dpop": {g.signed(g.header, g.claims)}}
	resp, err := d.http.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	resp.Body.Close()
	if d.nonce = resp.Header.Get("DPoP-Nonce"); d.nonce == "" {
		d.t.Fatalf("no nonce: %s", resp.Status)
	}
	return d.nonce
}

// TestForgedTokensAreRefusedAtEveryDoor runs the list of notes on JOSE attacks, signed
// by the right key wherever that makes it more dangerous, and what C2SP/wycheproof
// collects, against every place where a JWT is believed.
func TestForgedTokensAreRefusedAtEveryDoor(t *testing.T) {
	d := newDoors(t)
	vectors := wycheproof(t)
	for _, door := range d.all() {
		t.Run(door.name, func(t *testing.T) {
			g := door.make()
			if taken, status, body := door.present(g.signed(g.header, g.claims)); !taken {
				t.Fatalf("a good one is answered %d %s: the test shows nothing", status, body)
			}
			all := append(forgeries(t, door.make), vectors...)
			for _, a := range all {
				taken, status, body := door.present(a.raw)
				if taken || status >= 500 || status == http.StatusOK && !strings.Contains(body, "error") {
					t.Errorf("%s: %d %.200s", a.name, status, body)
				}
				if len(a.raw) > 100 && strings.Contains(body, a.raw[:100]) {
					t.Errorf("%s: the answer echoes it", a.name)
				}
			}
			t.Logf("%d refused", len(all))
		})
	}
}

// wycheproof is what the vectors of C2SP/wycheproof have in compact form, whether they
// call it valid or not: none is a token for us. They are not part of this repository.
func wycheproof(t *testing.T) (out []attack) {
	for _, file := range []string{"wycheproof_json_web_signature.json", "wycheproof_json_web_encryption.json"} {
		b, ok := needed.Vectors(t, file)
		if !ok {
			return nil
		}
		var v struct {
			Groups []struct {
				Tests []struct {
					ID       int `json:"tcId"`
					JWS, JWE any
				} `json:"tests"`
			} `json:"testGroups"`
		}
		if err := json.Unmarshal(b, &v); err != nil || len(v.Groups) == 0 {
			t.Fatalf("%s: %d groups, %v", file, len(v.Groups), err)
		}
		for _, g := range v.Groups {
			for _, tt := range g.Tests {
				for _, form := range []any{tt.JWS, tt.JWE} {
					if raw, ok := form.(string); ok && raw != "" {
						out = append(out, attack{fmt.Sprintf("%s %d", file, tt.ID), raw})
					}
				}
			}
		}
	}
	if len(out) < 300 {
		t.Fatalf("%d vectors, want 300 or more", len(out))
	}
	return out
}
