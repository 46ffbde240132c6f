package main

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// TestProcessOfASessionHasTheCredentialOfItsSubject, from its first message on: which is
// initialize, whatever messages says, and nothing can be given to a process later.
func TestProcessOfASessionHasTheCredentialOfItsSubject(t *testing.T) {
	w := newLegacyWorld(t)
	u, err := url.Parse(w.db)
	if err != nil {
		t.Fatal(err)
	}
	c := loginByJWT
	for _, per := range []string{"session", "subject"} {
		c.also += `
  - name: by-` + per + `
    command: [legacy-stdio]
    credential: vault
    sandbox: {mode: "off"}
    vault:
      engine: database
      path: "database/creds/reports-{{.subject}}"
      role: by-` + per + `
      per: ` + per + `
      inject:
        env: [{name: DSN, value: "postgres://{{.username}}:{{.password | urlquery}}@` + u.Path + "?" + u.RawQuery + `"}]`
		w.write("access.yaml", readText(t, filepath.Join(w.dir, "access.yaml"))+"      by-"+per+": {tools: [query]}\n")
	}
	w.begin(c)
	for _, server := range []string{"by-session", "by-subject"} {
		w.likeReports(server)
		for _, subject := range []string{"alice", "bob"} {
			said, err := w.call(w.token(subject, server, false), server, "query", map[string]any{"sql": whose})
			if err != nil || !strings.HasPrefix(said, "v-jwt-"+subject[:3]) { // Vault cuts it off
				t.Errorf("%s, %s: %q, %v", server, subject, said, err)
			}
		}
	}
	w.stop()
	if strings.Contains(w.log.with("stopping"), "sessions were not ended") { // for which the gateway would need a credential of its own
		t.Error("the processes were left to themselves")
	}
	if users := w.users(); len(users) != 0 {
		t.Errorf("left in the database: %v", users)
	}
}
