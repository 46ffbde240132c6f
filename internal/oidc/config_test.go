package oidc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/oidc"
)

func TestConfigurationsThatAreNotSafe(t *testing.T) {
	tests := []struct {
		name   string
		change func(*oidc.Config)
	}{
		{"an IdP over http elsewhere", func(c *oidc.Config) { c.Issuer = "http://idp.example" }},
		{"a host that only begins as loopback", func(c *oidc.Config) { c.Issuer = "http://localhost.example" }},
		{"loopback as user information", func(c *oidc.Config) { c.Issuer = "http://127.0.0.1@idp.example" }},
		{"another scheme", func(c *oidc.Config) { c.Issuer = "ftp://127.0.0.1" }},
		{"no issuer", func(c *oidc.Config) { c.Issuer = "" }},
		{"an issuer without host", func(c *oidc.Config) { c.Issuer = "https:///path" }},
		{"an issuer with query", func(c *oidc.Config) { c.Issuer = "https://idp.example?tenant=1" }},
		{"an issuer with an empty query", func(c *oidc.Config) { c.Issuer = "https://idp.example?" }},
		{"an issuer with fragment", func(c *oidc.Config) { c.Issuer = "https://idp.example#x" }},
		{"an issuer with a password", func(c *oidc.Config) { c.Issuer = "https://a:b@idp.example" }},
		{"no client ID", func(c *oidc.Config) { c.ClientID = "" }},
		{"no redirect URI", func(c *oidc.Config) { c.RedirectURI = "" }},
		{"a redirect URI over http", func(c *oidc.Config) { c.RedirectURI = "http://wicketgate.example/oauth2/callback" }},
		{"scopes without openid", func(c *oidc.Config) { c.Scopes = []string{"profile"} }},
		{"a subject of a claim that anything can be in", func(c *oidc.Config) { c.SubjectClaim = "nickname" }},
		{"alg none", func(c *oidc.Config) { c.AllowedAlgorithms = []string{"RS256", "none"} }},
		{"alg HS256", func(c *oidc.Config) { c.AllowedAlgorithms = []string{"HS256"} }},
		{"a claim without name", func(c *oidc.Config) { c.Claims = []string{""} }},
		{"no log", func(c *oidc.Config) { c.Log = nil }},
		{"no clock", func(c *oidc.Config) { c.Now = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config("https://idp.example")
			tt.change(&cfg)
			if _, err := oidc.New(cfg); err == nil {
				t.Error("New took it")
			}
		})
	}
	for _, issuer := range []string{"https://idp.example", "https://idp.example/", "https://idp.example/realms/a", "http://127.0.0.1:8080", "http://[::1]", "http://localhost:1"} {
		if _, err := oidc.New(config(issuer)); err != nil {
			t.Error(err)
		}
	}
}

// TestTheSecretIsNotShown in any way that values get into logs and files.
func TestTheSecretIsNotShown(t *testing.T) {
	cfg := config("https://idp.example")
	p, err := oidc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, v := range []any{cfg.ClientSecret, &cfg.ClientSecret, cfg, p, *p} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	b, err := json.Marshal(object{"s": cfg.ClientSecret})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "a", cfg.ClientSecret, "b", object{"c": cfg.ClientSecret})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", cfg.ClientSecret, "b", object{"c": cfg.ClientSecret})
	for _, leak := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%d", []byte(secret)), secret[:6]} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the secret is in %s", &out)
		}
	}
	if !strings.Contains(out.String(), "client secret") || !oidc.NewSecret("").IsZero() || cfg.ClientSecret.IsZero() {
		t.Errorf("the secret shows itself as %s", cfg.ClientSecret)
	}
}
