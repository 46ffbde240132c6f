package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-json-experiment/json"
	"github.com/open-policy-agent/opa/v1/rego"
)

// helpers are the servers that bench starts from its own binary: bench NAME [UPSTREAM [ADDRESS]].
// Each returns its handler and, for the floor, the token that its callers need.
var helpers = map[string]func(upstream *url.URL) (http.Handler, string, error){
	"null":  func(*url.URL) (http.Handler, string, error) { return http.HandlerFunc(null), "", nil },
	"plain": func(u *url.URL) (http.Handler, string, error) { return proxyTo(u), "", nil },
	"floor": newFloor,
	"sign":  func(*url.URL) (http.Handler, string, error) { return newBareSigner() },

	helperSoak: newSoakUpstream,
}

const helperSoak = "soak-upstream"

// serveHelper serves until ctx is done, after it has said where, in the words of
// wicketgate dev.
func serveHelper(ctx context.Context, name string, args []string, stdout io.Writer) error {
	var upstream *url.URL
	if len(args) > 0 {
		u, err := url.Parse(args[0])
		if err != nil {
			return err
		}
		upstream = u
	}
	h, token, err := helpers[name](upstream)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	address := "127.0.0.1:0"
	if len(args) > 1 {
		address = args[1]
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	if token != "" {
		fmt.Fprintln(stdout, "token", token)
	}
	fmt.Fprintf(stdout, "ready http://%s\n", l.Addr())
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// callBody is the one call that is measured, and callAnswer the one right answer,
// to the byte: a gateway passes a good result on as it is.
const (
	callBody = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":` + callArguments + `}}`

	callArguments = `{"message":"a message of a common length, such as a person or a model writes","count":3,"tags":["bench","wicketgate"]}`

	callResult = `{"content":[{"type":"text","text":"a message of a common length"}]}`
	callAnswer = `{"jsonrpc":"2.0","id":7,"result":` + callResult + `}`
)

const echoTool = `{"name":"echo","description":"Answers a constant.","inputSchema":{"type":"object","required":["message"],"properties":{` +
	`"message":{"type":"string","maxLength":1000},"count":{"type":"integer","minimum":1,"maximum":100},"tags":{"type":"array","items":{"type":"string"}}}}}`

// null is an MCP server that does nothing: it must not drown what is measured.
func null(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := callAnswer
	if !bytes.Contains(body, []byte(`"tools/call"`)) {
		answer, err = nullAnswer(body)
	}
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case answer == "":
		w.WriteHeader(http.StatusAccepted)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}
}

// nullAnswer answers what precedes calls; nothing for a notification.
func nullAnswer(body []byte) (string, error) {
	var m struct {
		ID     stdjson.RawMessage `json:"id"`
		Method string             `json:"method"`
		Params struct {
			Version string `json:"protocolVersion"`
		} `json:"params"`
	}
	if err := stdjson.Unmarshal(body, &m); err != nil {
		return "", err
	}
	switch {
	case m.ID == nil:
		return "", nil
	case m.Method == "initialize":
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":%q,"capabilities":{"tools":{}},"serverInfo":{"name":"null","version":"1"}}}`, m.ID, m.Params.Version), nil
	case m.Method == "tools/list":
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[%s]}}`, m.ID, echoTool), nil
	}
	return "", fmt.Errorf("the null server has no %q", m.Method)
}

// proxyTo is the standard library's reverse proxy, tuned as one would for many calls.
func proxyTo(u *url.URL) *httputil.ReverseProxy {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.DisableCompression, t.MaxIdleConnsPerHost = nil, true, 256
	return &httputil.ReverseProxy{Transport: t, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
}

const floorPolicy = `package gateway

default allow := false

allow if {
	some role in input.roles
	input.tool in tools[role]
}

tools := {"reader": ["list", "echo"], "writer": ["write"]}`

const (
	floorIssuer   = "https://as.test"
	floorResource = "https://gateway.test"
)

type floorClaims struct {
	jwt.Claims
	Roles []string `json:"roles"`
}

// floor is the naive gateway. It keeps keys and the compiled policy, and nothing
// from one call to the next.
type floor struct {
	theirs, own *ecdsa.PrivateKey
	signer      jose.Signer
	policy      rego.PreparedEvalQuery
	proxy       http.Handler
}

func newFloor(upstream *url.URL) (http.Handler, string, error) {
	f := &floor{proxy: proxyTo(upstream)}
	issuer, err := newSigner(&f.theirs)
	if err != nil {
		return nil, "", err
	}
	if f.signer, err = newSigner(&f.own); err != nil {
		return nil, "", err
	}
	if f.policy, err = rego.New(rego.Query("data.gateway.allow"), rego.Module("gateway.rego", floorPolicy)).PrepareForEval(context.Background()); err != nil {
		return nil, "", err
	}
	token, err := mint(issuer, floorClaims{jwt.Claims{Issuer: floorIssuer, Subject: "agent", Audience: jwt.Audience{floorResource}}, []string{"reader"}}, 12*time.Hour)
	return f, token, err
}

func newSigner(key **ecdsa.PrivateKey) (jose.Signer, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	*key = k
	return jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType("at+jwt"))
}

func mint(s jose.Signer, c floorClaims, lifetime time.Duration) (string, error) {
	now := time.Now()
	c.ID, c.IssuedAt, c.Expiry = rand.Text(), jwt.NewNumericDate(now), jwt.NewNumericDate(now.Add(lifetime))
	return jwt.Signed(s).Claims(c).Serialize()
}

func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := f.verify(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err == nil {
		err = f.decide(r.Context(), c, body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	token, err := mint(f.signer, floorClaims{jwt.Claims{Issuer: floorResource, Subject: c.Subject, Audience: jwt.Audience{"https://upstream.test"}}, c.Roles}, time.Minute)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	f.proxy.ServeHTTP(w, r)
}

func (f *floor) verify(r *http.Request) (c floorClaims, err error) {
	t, err := jwt.ParseSigned(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return c, err
	}
	if err := t.Claims(&f.theirs.PublicKey, &c); err != nil {
		return c, err
	}
	return c, c.Validate(jwt.Expected{Issuer: floorIssuer, AnyAudience: jwt.Audience{floorResource}, Time: time.Now()})
}

// decide parses strictly (no member twice, valid UTF-8, names to the letter) and
// asks the policy.
func (f *floor) decide(ctx context.Context, c floorClaims, body []byte) error {
	var m struct {
		Method string `json:"method"`
		Params struct {
			Name      string         `json:"name"`
			Arguments map[string]any `json:"arguments"`
		} `json:"params"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	rs, err := f.policy.Eval(ctx, rego.EvalInput(map[string]any{"roles": c.Roles, "tool": m.Params.Name, "arguments": m.Params.Arguments}))
	if err == nil && (m.Method != "tools/call" || !rs.Allowed()) {
		err = errors.New("denied")
	}
	return err
}

// newBareSigner answers every request with a fresh access token and looks at
// nothing: what any token endpoint pays at the least.
func newBareSigner() (http.Handler, string, error) {
	var key *ecdsa.PrivateKey
	s, err := newSigner(&key)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now().Unix()
		token, err := jwt.Signed(s).Claims(map[string]any{"iss": floorIssuer, "sub": "agent", "client_id": "agent", "aud": floorResource,
			"scope": "mcp:tools mcp:resources mcp:prompts", "iat": now, "exp": now + 300, "jti": rand.Text()}).Serialize()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = stdjson.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 300})
	}), "", err
}
