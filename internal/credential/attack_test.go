package credential_test

import (
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/credential"
)

func env(name, value string) credential.Injection {
	return credential.Injection{Env: []credential.Field{{Name: name, Value: value}}}
}

func files(f ...credential.FileField) credential.Injection { return credential.Injection{Files: f} }

// TestTemplateCannotDoMoreThanWriteValues: a loop has no end, printf has no width that is
// too large, and what a decision is made on is not known to be used.
func TestTemplateCannotDoMoreThanWriteValues(t *testing.T) {
	for _, value := range []string{
		`{{if .password}}x{{end}}`, `{{range .password}}x{{end}}`, `{{with .password}}x{{end}}`, `{{define "x"}}{{end}}`, `{{template "x"}}`, `{{block "x" .}}{{end}}`,
		`{{printf "%1000000d" 1}}`, `{{print .}}`, `{{call .password}}`, `{{html .password}}`, `{{js .password}}`, `{{len .password}}`, `{{slice .password 0 4}}`,
		`{{.}}`, `{{$}}`, `{{$x := .password}}`, `{{.password.x}}`, `{{(.password)}}`, `{{.password | index}}`, `{{index .}}`, `{{index . 1}}`, `{{index . ""}}`, `{{index . "a" "b"}}`,
		`{{"constant"}}`, `{{1}}`, `{{nil}}`, `{{urlquery .password}}`, `{{.password | urlquery .username}}`, `{{.password | .username}}`, `{{.password`, `{{}}`,
	} {
		_, err := credential.Compile(header("X-Key", value))
		if err == nil || !strings.Contains(err.Error(), `header "X-Key": `) {
			t.Errorf("Compile(%s): %v, want an error that names the header", value, err)
		}
	}
}

func TestPlacesThatAreNotForSecretsAreRefused(t *testing.T) {
	twice := []credential.Field{{Name: "x-key", Value: "a"}, {Name: "X-Key", Value: "b"}}
	for _, in := range []credential.Injection{
		header("Host", "x"), header("transfer-encoding", "x"), header("Content-Type", "x"), header("content-length", "1"), header("Connection", "x"), header("TE", "x"), header("Upgrade", "x"),
		header("Proxy-Authorization", "x"), header("Mcp-Session-Id", "x"), header("MCP-Protocol-Version", "x"), header("Last-Event-ID", "x"), header("Accept", "x"), header("Origin", "x"),
		header("", "x"), header("a b", "x"), header("a:b", "x"), header("a\r\nb", "x"),
		env("PATH", "x"), env("path", "x"), env("HOME", "x"), env("TMPDIR", "x"), env("LD_PRELOAD", "x"), env("DYLD_INSERT_LIBRARIES", "x"), env("NODE_OPTIONS", "x"), env("PYTHONPATH", "x"),
		env("BASH_ENV", "x"), env("GIT_SSH_COMMAND", "x"), env("", "x"), env("A=B", "x"), env("1A", "x"), env("A\x00", "x"),
		files(credential.FileField{Env: "F", Name: "../x"}), files(credential.FileField{Env: "F", Name: "/x"}), files(credential.FileField{Env: "F", Name: ".."}),
		files(credential.FileField{Env: "F", Name: ".profile"}), files(credential.FileField{Env: "F", Name: `a\b`}), files(credential.FileField{Env: "F"}), files(credential.FileField{Env: "HOME", Name: "x"}),
		files(credential.FileField{Env: "F", Name: "x"}, credential.FileField{Env: "F", Name: "y"}), files(credential.FileField{Env: "F", Name: "x"}, credential.FileField{Env: "G", Name: "x"}),
		{Header: twice}, {Query: []credential.Field{{Name: "a\n", Value: "x"}}}, {Query: []credential.Field{{Value: "x"}}},
		{Env: []credential.Field{{Name: "F", Value: "x"}}, Files: []credential.FileField{{Env: "F", Name: "x"}}},
		{Header: []credential.Field{{Name: "authorization", Value: "x"}}, Basic: &credential.Basic{}},
		{},
	} {
		if _, err := credential.Compile(in); err == nil {
			t.Errorf("Compile(%+v): no error", in)
		}
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Api-Key", "X-Forwarded-User"} {
		if _, err := credential.Compile(header(name, "{{.password}}")); err != nil {
			t.Errorf("header %s: %v", name, err)
		}
	}
}

// TestSecretCannotBeginAnotherHeader: whoever may write a key into Vault does not get to
// write requests.
func TestSecretCannotBeginAnotherHeader(t *testing.T) {
	for _, bad := range []string{"secret-1\r\nX-Admin: yes", "secret-1\n", "secret-1\r", "secret\x00-1", "secret\x1b[1m", "secret\x7f-1", "secret\u0085-1", "secret\xff-1", "\tsecret-1"} {
		for _, in := range []credential.Injection{
			header("X-Key", "{{.password}}"), env("KEY", "{{.password}}"),
			{Query: []credential.Field{{Name: "k", Value: "{{.password}}"}}},
			{Basic: &credential.Basic{Username: "x", Password: "{{.password}}"}}, {Basic: &credential.Basic{Username: "{{.password}}", Password: "x"}},
		} {
			_, err := compiled(t, in).Render(map[string]string{"password": bad})
			if err == nil || strings.Contains(err.Error(), "secret-") || strings.Contains(err.Error(), "secret\\") {
				t.Errorf("Render of %+v with %q: %v, want an error without it", in, bad, err)
			}
		}
	}
}

func TestErrorsOfRenderingQuoteNoValue(t *testing.T) {
	secret := map[string]string{"password": "s3cr3t-s3cr3t", "user": "a:b", "certificate": "s3cr3t-s3cr3t", "private_key": "s3cr3t-s3cr3t", "pin": "s3cr"}
	for name, in := range map[string]credential.Injection{
		"no such name":         header("X-Key", "{{.passwort}}"),
		"too short":            header("X-Key", "{{.pin}}"),
		"too short for Basic":  {Basic: &credential.Basic{Username: "x", Password: "{{.pin}}"}},
		"too short in a file":  files(credential.FileField{Env: "F", Name: "f", Content: "{{.pin}}"}),
		"a colon in the user":  {Basic: &credential.Basic{Username: "{{.password}}:", Password: "x"}},
		"no certificate":       {ClientCertificate: true},
		"too much in all":      header("X-Key", "{{.password}}"),
		"too long":             header("X-Key", "{{.large}}{{.large}}"),
		"too long in the pipe": header("X-Key", "{{.large | base64 | base64 | base64 | base64}}"),
	} {
		values := map[string]string{"large": strings.Repeat("s3cr3t", 9000)}
		for k, v := range secret {
			values[k] = v
		}
		if name == "too much in all" {
			values["more"] = strings.Repeat("s3cr3t more ", 9000)
		}
		_, err := compiled(t, in).Render(values)
		if err == nil || strings.Contains(err.Error(), "s3cr") {
			t.Errorf("%s: %v, want an error without the secret", name, err)
		}
	}
}

const maxTemplate = 64 << 10

func TestWhatIsTooShortAndGoesNowhereDoesNotMatter(t *testing.T) {
	c := rendered(t, header("X-Key", "{{.password}}"), values)
	for _, s := range c.Secrets() {
		if len(s) < credential.MinSecret {
			t.Errorf("%q is looked for", s)
		}
	}
}

// FuzzCompileRender: nothing makes it panic, what comes out has its bounds and begins no
// other line, and an error has no value in it.
func FuzzCompileRender(f *testing.F) {
	const secret = "zQ7#unlikely#9x"
	for _, s := range []string{"{{.password}}", `{{index . "password" | json | base64 | urlquery}}`, "{{", "a{{.b}}c", "{{/* x */}}", "{{- .password -}}\n", "{{.password | base64 | base64 | base64}}"} {
		f.Add(s, "X-Key")
	}
	f.Fuzz(func(t *testing.T, value, name string) {
		for kind, in := range map[string]credential.Injection{"line": {Header: []credential.Field{{Name: name, Value: value}}}, "file": files(credential.FileField{Env: "F", Name: "f", Content: value})} {
			template, err := credential.Compile(in)
			if err != nil {
				continue
			}
			c, err := template.Render(map[string]string{"password": secret, "a": strings.Repeat(secret, 4000)})
			if err != nil {
				if strings.Contains(err.Error(), secret) && !strings.Contains(value+name, secret) {
					t.Errorf("%v", err)
				}
				continue
			}
			for _, vs := range c.Header() {
				if strings.ContainsAny(vs[0], "\r\n\x00") || len(vs[0]) > maxTemplate {
					t.Errorf("%s: %q", kind, vs[0])
				}
			}
			for _, file := range c.Files() {
				if len(file.Content) > maxTemplate {
					t.Errorf("%s: %d bytes", kind, len(file.Content))
				}
			}
		}
	})
}
