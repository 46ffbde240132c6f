package authz_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// managed is a client with what manages it.
type managed struct {
	client
	Token string `json:"registration_access_token"`
	URI   string `json:"registration_client_uri"`
}

func (w *world) managed(body string) managed {
	w.t.Helper()
	var m managed
	a := w.postRegister(body)
	if a.status != 201 {
		w.t.Fatalf("register: %d %s", a.status, a.body)
	}
	noError(w.t, json.Unmarshal([]byte(a.body), &m))
	noError(w.t, json.Unmarshal([]byte(a.body), &m.client))
	return m
}

// manage sends a request to the client configuration endpoint; authorization is
// the whole header.
func (w *world) manage(method, path, authorization, body string) answer {
	w.t.Helper()
	r := w.request(method, path, "application/json", body)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	a := w.do(r)
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		w.t.Errorf("Cache-Control %q", got)
	}
	return a
}

func (w *world) path(m managed) string {
	w.t.Helper()
	path, ok := strings.CutPrefix(m.URI, w.url)
	if !ok {
		w.t.Fatalf("registration_client_uri %q", m.URI)
	}
	return path
}

func (a answer) members(t testing.TB) map[string]any {
	t.Helper()
	got := map[string]any{}
	if a.body != "" {
		noError(t, json.Unmarshal([]byte(a.body), &got))
	}
	return got
}

func (w *world) stored(id string) authz.Client {
	w.t.Helper()
	return must(w.store.Client(w.t.Context(), identity.MustClientID(id)))(w.t)
}

const confidential = `{"redirect_uris":["https://app.example/cb"],"client_name":"Mine","token_endpoint_auth_method":"client_secret_post"}`

func TestClientReadsItsRegistration(t *testing.T) {
	w := newWorld(t)
	body := w.registration(confidential)
	m := managed{client: client{ID: body["client_id"].(string)}, Token: body["registration_access_token"].(string), URI: body["registration_client_uri"].(string)}
	a := w.manage("GET", w.path(m), "bearer "+m.Token, "")
	delete(body, "client_secret") // only its hash is known
	if diff := cmp.Diff(body, a.members(t)); a.status != 200 || diff != "" {
		t.Errorf("%d (-registered +read):\n%s", a.status, diff)
	}
}

// A stranger learns nothing: not which clients there are, nor which can be managed.
func TestRegistrationsOfOthersCannotBeManaged(t *testing.T) {
	w := newWorld(t, manyRegistrations)
	mine, theirs := w.managed(confidential), w.managed(confidential)
	gone := w.managed(confidential)
	if a := w.manage("DELETE", w.path(gone), "Bearer "+gone.Token, ""); a.status != 204 {
		t.Fatalf("delete: %d", a.status)
	}
	tests := map[string]struct{ path, authorization string }{
		"no token":                       {w.path(theirs), ""},
		"an empty token":                 {w.path(theirs), "Bearer "},
		"no token after the scheme":      {w.path(theirs), "Bearer"},
		"another client's token":         {w.path(theirs), "Bearer " + mine.Token},
		"the token and more":             {w.path(theirs), "Bearer " + theirs.Token + "x"},
		"the token, shortened":           {w.path(theirs), "Bearer " + theirs.Token[:len(theirs.Token)-1]},
		"the hash of the token":          {w.path(theirs), "Bearer " + base64.RawURLEncoding.EncodeToString(sum(theirs.Token))},
		"the client's secret":            {w.path(theirs), "Bearer " + theirs.Secret},
		"the token by Basic":             {w.path(theirs), "Basic " + theirs.Token},
		"the token in the query":         {w.path(theirs) + "?access_token=" + theirs.Token, ""},
		"an unknown client":              {"/oauth2/register/nobody", "Bearer " + mine.Token},
		"a client that was removed":      {w.path(gone), "Bearer " + gone.Token},
		"a static client":                {"/oauth2/register/agent", "Bearer " + mine.Token},
		"a static client, empty token":   {"/oauth2/register/agent", "Bearer "},
		"a static client's secret":       {"/oauth2/register/agent", "Bearer " + agentSecret},
		"a client id of odd characters":  {"/oauth2/register/a%20b", "Bearer " + mine.Token},
		"a client id of 3000 characters": {"/oauth2/register/" + strings.Repeat("a", 3000), "Bearer " + mine.Token},
	}
	var first string
	for name, test := range tests {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			t.Run(method+" with "+name, func(t *testing.T) {
				a := w.in(t).manage(method, test.path, test.authorization, `{"client_id":"`+theirs.ID+`",`+confidential[1:])
				if first == "" {
					first = a.body
				}
				if a.status != 401 || a.Error != "invalid_token" || a.body != first || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
					t.Errorf("%d %v %s, want 401 %s", a.status, a.header, a.body, first)
				}
			})
		}
	}
	if c := w.stored(theirs.ID); c.Name != "Mine" {
		t.Errorf("the client was changed: %+v", c)
	}
}

func TestClientWithoutRegistrationTokenCannotBeManaged(t *testing.T) {
	w := newWorld(t)
	noError(t, w.store.InsertClient(t.Context(), authz.Client{ID: identity.MustClientID("old"), AuthMethod: "none"})) // of a version before
	for _, token := range []string{"", " ", "x"} {
		if a := w.manage("DELETE", "/oauth2/register/old", "Bearer "+token, ""); a.status != 401 {
			t.Errorf("token %q: %d %s", token, a.status, a.body)
		}
	}
}

// Who could change what the configuration says would be the operator.
func TestStaticClientCannotBeManaged(t *testing.T) {
	w := newWorld(t)
	noError(t, w.server.PutStatic(t.Context(), authz.Client{ID: identity.MustClientID("fixed"), AuthMethod: "none", RegistrationHash: sum("known")}))
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if a := w.manage(method, "/oauth2/register/fixed", "Bearer known", `{"client_id":"fixed",`+confidential[1:]); a.status != 401 {
			t.Errorf("%s: %d %s", method, a.status, a.body)
		}
	}
}

func TestUpdateReplacesTheRegistration(t *testing.T) {
	w := newWorld(t)
	m := w.managed(confidential)
	before := w.stored(m.ID)
	w.clock.advance(time.Hour)
	a := w.manage("PUT", w.path(m), "Bearer "+m.Token, `{"client_id":"`+m.ID+`","client_secret":"`+m.Secret+`","redirect_uris":["https://new.example/cb"],"token_endpoint_auth_method":"client_secret_basic"}`)
	want := map[string]any{"client_id": m.ID, "client_id_issued_at": float64(began.Unix()), "client_secret_expires_at": 0.0, "registration_access_token": m.Token,
		"registration_client_uri": m.URI, "redirect_uris": []any{"https://new.example/cb"}, "grant_types": []any{"authorization_code", "refresh_token"},
		"response_types": []any{"code"}, "token_endpoint_auth_method": "client_secret_basic"}
	if diff := cmp.Diff(want, a.members(t)); a.status != 200 || diff != "" {
		t.Errorf("%d (-want +got):\n%s", a.status, diff)
	}
	before.Name, before.RedirectURIs, before.AuthMethod = "", []string{"https://new.example/cb"}, "client_secret_basic"
	if diff := cmp.Diff(before, w.stored(m.ID), cmp.Comparer(func(a, b identity.ClientID) bool { return a == b })); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// CVE-2026-15572: what is refused to a new client was taken from one that changed.
func TestUpdateCannotGetWhatRegistrationRefuses(t *testing.T) {
	w := newWorld(t, manyRegistrations)
	m := w.managed(confidential)
	before := w.stored(m.ID)
	uri := `"redirect_uris":["https://app.example/cb"]`
	tests := map[string]struct{ members, code string }{
		"a redirect to plain http":               {`"client_id":"ID","application_type":"native","redirect_uris":["http://app.example/cb"]`, "invalid_redirect_uri"},
		"a redirect that runs script":            {`"client_id":"ID","redirect_uris":["javascript:alert(1)"]`, "invalid_redirect_uri"},
		"a custom scheme that nobody allowed":    {`"client_id":"ID","redirect_uris":["com.evil:/cb"]`, "invalid_redirect_uri"},
		"no redirect":                            {`"client_id":"ID"`, "invalid_redirect_uri"},
		"eleven redirects":                       {`"client_id":"ID","redirect_uris":["https://a.example/` + strings.Join(strings.Split("0123456789a", ""), `","https://a.example/`) + `"]`, "invalid_redirect_uri"},
		"no grant that we offer":                 {`"client_id":"ID",` + uri + `,"grant_types":["client_credentials"]`, "invalid_client_metadata"},
		"a certificate":                          {`"client_id":"ID",` + uri + `,"token_endpoint_auth_method":"tls_client_auth"`, "invalid_client_metadata"},
		"private_key_jwt without keys":           {`"client_id":"ID",` + uri + `,"token_endpoint_auth_method":"private_key_jwt"`, "invalid_client_metadata"},
		"a private key":                          {`"client_id":"ID",` + uri + `,"token_endpoint_auth_method":"private_key_jwt","jwks":` + privateKeys, "invalid_client_metadata"},
		"a name that turns the text around":      {`"client_id":"ID",` + uri + `,"client_name":"a\u202eb"`, "invalid_client_metadata"},
		"a malformed scope":                      {`"client_id":"ID",` + uri + `,"scope":"\"x\""`, "invalid_client_metadata"},
		"no client_id":                           {uri, "invalid_client_metadata"},
		"another client_id":                      {`"client_id":"agent",` + uri, "invalid_client_metadata"},
		"a client_id that is a URL":              {`"client_id":"https://app.example/client.json",` + uri, "invalid_client_metadata"},
		"two client_ids":                         {`"client_id":"ID","client_id":"ID",` + uri, "invalid_client_metadata"},
		"a secret of its own":                    {`"client_id":"ID","client_secret":"mine",` + uri, "invalid_client_metadata"},
		"an empty secret":                        {`"client_id":"ID","client_secret":"",` + uri, "invalid_client_metadata"},
		"a registration access token of its own": {`"client_id":"ID","registration_access_token":"x",` + uri, "invalid_client_metadata"},
		"its registration access token":          {`"client_id":"ID","registration_access_token":"TOKEN",` + uri, "invalid_client_metadata"},
		"a registration_client_uri":              {`"client_id":"ID","registration_client_uri":"x",` + uri, "invalid_client_metadata"},
		"a secret that never expires":            {`"client_id":"ID","client_secret_expires_at":0,` + uri, "invalid_client_metadata"},
		"a time of issue":                        {`"client_id":"ID","client_id_issued_at":0,` + uri, "invalid_client_metadata"},
		"a body over 16 KiB":                     {`"client_id":"ID",` + uri + `,"x":"` + strings.Repeat("a", 16<<10) + `"`, "invalid_request"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			body := strings.NewReplacer("ID", m.ID, "TOKEN", m.Token).Replace(test.members)
			w.wantError(w.manage("PUT", w.path(m), "Bearer "+m.Token, `{`+body+`}`), 400, test.code)
		})
	}
	if diff := cmp.Diff(before, w.stored(m.ID), cmp.Comparer(func(a, b identity.ClientID) bool { return a == b })); diff != "" {
		t.Errorf("stored (-before +after):\n%s", diff)
	}
}

func TestUpdateOfTheMethodChangesTheSecret(t *testing.T) {
	w := newWorld(t, func(c *authz.Config) { c.SecretMaxAge = 90 * 24 * time.Hour })
	m := w.managed(confidential)
	put := func(method, more string) map[string]any {
		t.Helper()
		a := w.manage("PUT", w.path(m), "Bearer "+m.Token, `{"client_id":"`+m.ID+`","redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"`+method+`"`+more+`}`)
		if a.status != 200 {
			t.Fatalf("%s: %d %s", method, a.status, a.body)
		}
		return a.members(t)
	}
	steps := []struct {
		method, more string
		age          time.Duration
		fresh, has   bool // a new secret is issued, the client has one
	}{
		{"client_secret_basic", "", 0, false, true},
		{"none", "", 0, false, false},
		{"client_secret_post", "", 0, true, true},
		{"client_secret_post", "", 90*24*time.Hour - time.Second, false, true},
		{"client_secret_post", "", time.Second, true, true}, // or the client could never go on
		{"private_key_jwt", `,"jwks":` + publicKeys, 0, false, false},
		{"client_secret_basic", "", 0, true, true},
	}
	secrets := map[any]bool{m.Secret: true}
	for _, s := range steps {
		w.clock.advance(s.age)
		got, c := put(s.method, s.more), w.stored(m.ID)
		secret := got["client_secret"]
		if (secret != nil) != s.fresh || (c.SecretHash != nil) != s.has || (got["client_secret_expires_at"] != nil) != s.has || secrets[secret] {
			t.Errorf("%s: %v, stored %+v", s.method, got, c)
		}
		if s.fresh {
			secrets[secret] = true
			if diff := cmp.Diff(sum(secret.(string)), c.SecretHash); diff != "" {
				t.Errorf("%s: stored secret (-want +got):\n%s", s.method, diff)
			}
		}
		if (c.JWKS != nil) != (s.method == "private_key_jwt") {
			t.Errorf("%s: keys %s", s.method, c.JWKS)
		}
	}
}

// Where secrets live for ever, a client that had none still gets one.
func TestUpdateToASecretIssuesOne(t *testing.T) {
	w := newWorld(t)
	m := w.managed(goodRegistration)
	a := w.manage("PUT", w.path(m), "Bearer "+m.Token, `{"client_id":"`+m.ID+`",`+confidential[1:])
	secret, _ := a.members(t)["client_secret"].(string)
	if diff := cmp.Diff(sum(secret), w.stored(m.ID).SecretHash); a.status != 200 || secret == "" || diff != "" {
		t.Errorf("%d %s, stored secret (-want +got):\n%s", a.status, a.body, diff)
	}
}

func TestSecretIsDroppedWithItsMethod(t *testing.T) {
	w := newWorld(t)
	m := w.managed(`{"redirect_uris":["http://127.0.0.1:7777/callback"],"token_endpoint_auth_method":"client_secret_post"}`)
	m.redirect = "http://127.0.0.1:7777/callback"
	if a := w.manage("PUT", w.path(m), "Bearer "+m.Token, `{"client_id":"`+m.ID+`","redirect_uris":["http://127.0.0.1:7777/callback"],"token_endpoint_auth_method":"none"}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	code := w.approve(m.client).Get("code")
	w.wantError(w.token(&m.client, codeForm(m.client, code)), 401, "invalid_client")
	m.Secret = ""
	w.wantOK(w.token(&m.client, codeForm(m.client, code)))
}

func TestRemovedClientLosesItsGrants(t *testing.T) {
	w := newWorld(t)
	m := w.managed(`{"redirect_uris":["http://127.0.0.1:7777/callback"],"token_endpoint_auth_method":"none"}`)
	m.redirect = "http://127.0.0.1:7777/callback"
	tokens := w.tokens(m.client)
	txn, _ := payload(t, tokens.AccessToken)["txn"].(string)
	a := w.manage("DELETE", w.path(m), "Bearer "+m.Token, "")
	if a.status != 204 || a.body != "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.wantError(w.token(&m.client, refreshForm(tokens.RefreshToken)), 401, "invalid_client")
	grant, err := w.store.Authorization(t.Context(), txn)
	if err != nil || grant.Revoked.IsZero() {
		t.Errorf("the grant: %+v, %v", grant, err)
	}
	if p := w.browser().get(w.authorizePath(m.client)); p.status != 400 {
		t.Errorf("the authorization endpoint: %d", p.status)
	}
}

func TestManagementIsAudited(t *testing.T) {
	w := newWorld(t)
	m := w.managed(confidential)
	w.manage("GET", w.path(m), "Bearer "+m.Token, "")
	w.manage("PUT", w.path(m), "Bearer "+m.Token, `{"client_id":"`+m.ID+`",`+confidential[1:])
	w.manage("PUT", w.path(m), "Bearer "+m.Token, `{}`)
	w.manage("DELETE", w.path(m), "Bearer "+m.Token, "")
	w.manage("DELETE", w.path(m), "Bearer "+m.Token, "")
	var want []audit.Event
	for _, action := range []string{"", "read", "update"} {
		want = append(want, audit.Event{Kind: audit.Registration, Action: action, Client: m.ID, Source: "127.0.0.1", Decision: audit.Allow})
	}
	want = append(want,
		audit.Event{Kind: audit.Refusal, Action: "register", Source: "127.0.0.1", Decision: audit.Deny, Reason: "invalid_client_metadata"},
		audit.Event{Kind: audit.Registration, Action: "delete", Client: m.ID, Source: "127.0.0.1", Decision: audit.Allow},
		audit.Event{Kind: audit.Refusal, Action: "register", Source: "127.0.0.1", Decision: audit.Deny, Reason: "invalid_token"})
	got := w.audit.take()
	for i := range got {
		got[i].RequestID, got[i].Count, got[i].Time = "", 0, time.Time{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit lines (-want +got):\n%s", diff)
	}
}

func TestManagementFailsClosed(t *testing.T) {
	w := newWorld(t)
	m := w.managed(confidential)
	w.audit.setBroken(true)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		w.wantError(w.manage(method, w.path(m), "Bearer "+m.Token, `{"client_id":"`+m.ID+`","redirect_uris":["https://new.example/cb"]}`), 500, "server_error")
	}
	w.audit.setBroken(false)
	if c := w.stored(m.ID); c.RedirectURIs[0] != "https://app.example/cb" {
		t.Errorf("changed without an audit line: %+v", c)
	}
	w.store.on(failing("Client"))
	w.wantError(w.manage("GET", w.path(m), "Bearer "+m.Token, ""), 500, "server_error")
}

// CVE-2026-9705: a registration access token must not open what has been closed.
func TestUpdateIsRefusedWhereRegistrationIsOff(t *testing.T) {
	w := newWorld(t)
	m := w.managed(confidential)
	off := newWorld(t, func(c *authz.Config) { c.Registration.Off = true; c.Store = w.store })
	a := off.manage("PUT", w.path(m), "Bearer "+m.Token, `{"client_id":"`+m.ID+`",`+confidential[1:])
	if a.status != 400 || a.Error != "access_denied" {
		t.Errorf("PUT: %d %s", a.status, a.body)
	}
	if a := off.manage("GET", w.path(m), "Bearer "+m.Token, ""); a.status != 200 {
		t.Errorf("GET: %d %s", a.status, a.body)
	}
	if a := off.manage("DELETE", w.path(m), "Bearer "+m.Token, ""); a.status != 204 {
		t.Errorf("DELETE: %d %s", a.status, a.body)
	}
}

func TestManagementFloodIsStopped(t *testing.T) {
	w := newWorld(t, perMinute(3))
	m := w.managed(confidential)
	for i, want := range []int{200, 200, 429} {
		if a := w.manage("GET", w.path(m), "Bearer "+m.Token, ""); a.status != want {
			t.Errorf("request %d: %d, want %d", i, a.status, want)
		}
	}
}
