package credential_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/credential"
)

var values = map[string]string{"username": "v-reports-1", "password": `p@ss "w/r d`, "api-key": "k3y-of-the-server", "short": "tiny"}

func compiled(t testing.TB, in credential.Injection) *credential.Template {
	t.Helper()
	template, err := credential.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	return template
}

func rendered(t testing.TB, in credential.Injection, values map[string]string) *credential.Credential {
	t.Helper()
	c, err := compiled(t, in).Render(values)
	if err != nil {
		t.Fatal(err)
	}
	return c.Live("", nil, nil)
}

func header(name, value string) credential.Injection {
	return credential.Injection{Header: []credential.Field{{Name: name, Value: value}}}
}

func TestValuesGoWhereTheyAreWanted(t *testing.T) {
	c := rendered(t, credential.Injection{
		Header: []credential.Field{{Name: "x-user", Value: "{{.username}}"}, {Name: "X-Key", Value: `Key {{index . "api-key"}}`}},
		Basic:  &credential.Basic{Username: "{{.username}}", Password: "{{.password}}"},
		Query:  []credential.Field{{Name: "k", Value: `{{index . "api-key" | base64}}`}},
		Env:    []credential.Field{{Name: "DSN", Value: "postgres://{{.username}}:{{.password | urlquery}}@db/app"}},
		Files:  []credential.FileField{{Env: "CREDENTIALS", Name: "c.json", Content: "{\"password\":{{.password | json}}}\n"}},
	}, values)
	basic := &http.Request{Header: http.Header{}}
	basic.SetBasicAuth(values["username"], values["password"])
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"header", c.Header(), http.Header{"X-User": {"v-reports-1"}, "X-Key": {"Key k3y-of-the-server"}, "Authorization": basic.Header["Authorization"]}},
		{"query", c.Query(), url.Values{"k": {"azN5LW9mLXRoZS1zZXJ2ZXI="}}},
		{"env", c.Env(), []string{"DSN=postgres://v-reports-1:p%40ss%20%22w%2Fr%20d@db/app"}},
		{"files", c.Files(), []credential.File{{Env: "CREDENTIALS", Name: "c.json", Content: []byte(`{"password":"p@ss \"w/r d"}` + "\n")}}},
	} {
		if d := cmp.Diff(test.want, test.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
	if u, err := url.Parse(strings.TrimPrefix(c.Env()[0], "DSN=")); err != nil || u.User.String() != url.UserPassword(values["username"], values["password"]).String() {
		t.Errorf("DSN: %v, %v", u, err)
	}
}

// TestEverySecretOfACredentialIsKnown: what is not known is not taken out of answers.
func TestEverySecretOfACredentialIsKnown(t *testing.T) {
	key := "-----BEGIN KEY-----\n  MHcCAQEEIBxkq7vJ4mNz8TtR\n-----END KEY-----\n"
	c := rendered(t, credential.Injection{
		Basic: &credential.Basic{Username: "{{.username}}", Password: "{{.password}}"},
		Env:   []credential.Field{{Name: "K", Value: `{{.password | json | base64}}`}},
	}, map[string]string{"username": "v-reports-1", "password": values["password"], "unused": "another-secret", "short": "tiny", "key": key})
	want := []string{values["password"], "di1yZXBvcnRzLTE6cEBzcyAidy9yIGQ=", "InBAc3MgXCJ3L3IgZCI=", "another-secret", key, "MHcCAQEEIBxkq7vJ4mNz8TtR"}
	slices.Sort(want)
	if d := cmp.Diff(want, c.Secrets()); d != "" {
		t.Errorf("Secrets (-want +got):\n%s", d)
	}
}

func TestCredentialPrintsAsAWord(t *testing.T) {
	c := rendered(t, header("X-Key", "{{.password}}"), values)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, *c} {
			if got := fmt.Sprintf(verb, v); got != "[credential]" {
				t.Errorf("%s of %T: %s", verb, v, got)
			}
		}
	}
}
