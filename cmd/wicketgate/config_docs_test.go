package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// keyLine begins a section of a configuration.
var keyLine = regexp.MustCompile(`^([a-z_]+):`)

// sections splits a configuration by its keys.
func sections(text string) (keys []string, of map[string]string) {
	of = map[string]string{}
	for line := range strings.Lines(text) {
		if m := keyLine.FindStringSubmatch(line); m != nil {
			keys = append(keys, m[1])
		}
		if len(keys) > 0 {
			of[keys[len(keys)-1]] += line
		}
	}
	return keys, of
}

// instead puts the keys of the block in the place of those of the configuration. One
// without a value is removed.
func instead(configuration, block string) string {
	keys, of := sections(configuration)
	others, replaced := sections(block)
	for _, k := range others {
		if _, ok := of[k]; !ok {
			keys = append(keys, k)
		}
		if of[k] = replaced[k]; strings.TrimSpace(of[k]) == k+":" {
			of[k] = ""
		}
	}
	var out strings.Builder
	for _, k := range keys {
		out.WriteString(of[k])
	}
	return out.String()
}

// checked is a folder with all files that documents name, in which configurations
// are checked as an operator does.
func checked(t *testing.T) (check func(name, configuration string, flags ...string) string) {
	t.Helper()
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, "tls"))
	writePair(t, filepath.Join(dir, "tls"), 1)
	ca := (&authority{t: t}).issue(x509.Certificate{IsCA: true, NotAfter: time.Now().Add(time.Hour)})
	files := map[string]string{"clients-ca.pem": inPEM(ca.Leaf), "report-agent.jwks.json": newAssertions(t).keySet(), "gateway.jwks.json": newAssertions(t).keySet(), "cluster.jwks.json": newAssertions(t).keySet(), "bundle.json": newAssertions(t).keySet(), "lab.example.json": (&domain{"lab.example", newAuthority(t), newAssertions(t)}).bundle(),
		"access.yaml": readText(t, "../../deploy/access.example.yaml")}
	_, key := newPair(t, 2)
	files["gateway.key.pem"] = string(key)
	for i, name := range []string{"billing-agent", "mail-server", "idp", "postgres", "host", "files", "bundles", "opa", "vault"} {
		files[name+".secret"] = strings.Repeat(string(rune('a'+i)), 64)
	}
	files["bundle.pub.pem"], files["deny.rego"], files["opa-ca.pem"] = publicPEM(t), "package wicketgate.deny\n\ndeny contains \"never\" if input.tool == \"wipe\"\n", inPEM(ca.Leaf)
	files["webhook.secret"] = "whsec_" + strings.Repeat("a", 44)
	for name, content := range files {
		replaceFile(t, filepath.Join(dir, name), []byte(content))
	}
	return func(name, configuration string, flags ...string) string {
		t.Helper()
		configuration = strings.Replace(configuration, "data: /var/lib/wicketgate\n", "data: lib\n", 1) // which this machine may have
		path := filepath.Join(dir, "wicketgate.yaml")
		replaceFile(t, path, []byte(configuration))
		var out strings.Builder
		if code := run(t.Context(), append([]string{"serve", "--config", path, "--check-config"}, flags...), &out, &out); code != 0 {
			t.Errorf("%s: exit code %d: %s\n%s", name, code, out.String(), configuration)
		}
		for _, made := range []string{"lib", "kek"} {
			if _, err := os.Stat(filepath.Join(dir, made)); err == nil {
				t.Errorf("the check of %s made %s", name, made)
			}
		}
		return out.String()
	}
}

// TestExampleIsRight checks deploy/wicketgate.example.yaml as it is, and with each of
// the alternatives that are commented out in it.
func TestExampleIsRight(t *testing.T) {
	check := checked(t)
	example := readText(t, "../../deploy/wicketgate.example.yaml")
	if out := check("the example", example); strings.Count(out, "note:") != 1 || !strings.Contains(out, "note: no login is configured") {
		t.Errorf("the example: %s", out)
	}
	alternatives := regexp.MustCompile(`(?m)(^#([a-z]| {2} *[a-z-]).*\n)+`).FindAllString(example[strings.Index(example, "issuer:"):], -1)
	for _, a := range alternatives {
		check(a, instead(example, regexp.MustCompile(`(?m)^#`).ReplaceAllString(a, "")))
	}
	if len(alternatives) != 10 {
		t.Errorf("%d alternatives, want the proxy, keys in Vault, a bundle, PostgreSQL, webhooks, login, a command, Vault, SPIFFE, and keys and certificates", len(alternatives))
	}
}

// TestDocumentedConfigurationIsRight checks each configuration that the documents for
// operators show.
func TestDocumentedConfigurationIsRight(t *testing.T) {
	check := checked(t)
	example := readText(t, "../../deploy/wicketgate.example.yaml")
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	var blocks [][]string
	for _, name := range []string{"operate", "federation", "spiffe", "redaction", "vault"} {
		blocks = append(blocks, block.FindAllStringSubmatch(readText(t, "../../docs/"+name+".md"), -1)...)
	}
	for _, b := range blocks {
		base := example
		if strings.Contains(b[1], "trusted_proxies:") {
			base = instead(base, "tls:\n")
		}
		if strings.Contains(b[1], "transit:") {
			base = instead(base, "key_encryption_key:\n")
		}
		if strings.Contains(b[1], "exchange:") {
			check(b[1], instead(instead(base, strings.Join(issuersOwn, ":\n")+":\n"), b[1]), "--role", "gateway")
			continue
		}
		check(b[1], instead(base, b[1]))
	}
	if len(blocks) < 10 {
		t.Errorf("%d configurations in the documents", len(blocks))
	}
}
