package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	nameVault = "Vault"
	rootToken = "root"
)

// repository is the folder of the sources.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// vaultProgram is the path of the Vault that tools/build.sh has built, empty without one.
func vaultProgram(ctx context.Context, repository string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(repository, "tools", "build.sh"), "-n", "vault", "github.com/wicketgate/wicketgate/tools/vault").Output()
	if err != nil {
		return "", fmt.Errorf("tools/build.sh: %w", err)
	}
	program := strings.TrimSpace(string(out))
	if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return program, nil
}

// vaultServer is a Vault of our own, on loopback, with files for its storage.
type vaultServer struct {
	*process
	repository string
	log        string // its audit file
}

func startVault(ctx context.Context, repository, program, dir string) (*vaultServer, error) {
	p, err := start(ctx, nameVault, program, "-addr", "127.0.0.1:0", "-root-token", rootToken, "-data", filepath.Join(dir, "vault"))
	if err != nil {
		return nil, err
	}
	v := &vaultServer{process: p, repository: repository, log: filepath.Join(dir, "vault-audit.jsonl")}
	err = v.write(ctx, "sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": v.log}})
	if err != nil {
		p.stop()
		return nil, err
	}
	return v, nil
}

// setUp runs deploy/vault/setup.sh as an operator does.
func (v *vaultServer) setUp(ctx context.Context, arguments ...string) error {
	c := exec.CommandContext(ctx, filepath.Join(v.repository, "deploy", "vault", "setup.sh"), arguments...)
	c.Env = append(os.Environ(), "VAULT_ADDR="+v.url, "VAULT_TOKEN="+rootToken, "DATABASE_USER=postgres", "DATABASE_PASSWORD=unused on a Unix socket")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("setup.sh %s: %w\n%s", strings.Join(arguments, " "), err, out)
	}
	return nil
}

func (v *vaultServer) write(ctx context.Context, path string, body any) error {
	b, err := stdjson.Marshal(body)
	if err == nil {
		_, err = v.ask(ctx, http.MethodPost, path, b)
	}
	return err
}

// copyRole makes JWT auth's role of a server for another one.
func (v *vaultServer) copyRole(ctx context.Context, from, to string) error {
	answer, err := v.ask(ctx, http.MethodGet, "auth/jwt/role/"+from, nil)
	if err != nil {
		return err
	}
	var role struct {
		Data map[string]any `json:"data"`
	}
	if err := stdjson.Unmarshal(answer, &role); err != nil {
		return err
	}
	claims, ok := role.Data["bound_claims"].(map[string]any)
	if !ok {
		return fmt.Errorf("role %s of Vault is not that of deploy/vault: it has no bound_claims", from)
	}
	claims["/authorization_details/0/server"] = to
	return v.write(ctx, "auth/jwt/role/"+to, role.Data)
}

func (v *vaultServer) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, v.url+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", rootToken)
	resp, err := preparing.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("ask Vault: %s %s: HTTP %s: %.300s", method, path, resp.Status, answer)
	}
	return answer, err
}

// What a request to Vault is for, in the order of a call.
const (
	stepLogin  = "login"
	stepMint   = "mint"
	stepLookup = "look whether it is still known"
	stepRenew  = "renew"
	stepRevoke = "revoke the lease"
	stepEnd    = "revoke the token"
	stepOther  = "other"
)

var stepNames = []string{stepLogin, stepMint, stepLookup, stepRenew, stepRevoke, stepEnd, stepOther}

func stepOf(path string) string {
	switch {
	case strings.HasPrefix(path, "auth/jwt/login"):
		return stepLogin
	case strings.HasPrefix(path, "database/creds/"), strings.HasPrefix(path, "secret/data/"):
		return stepMint
	case path == "sys/leases/lookup":
		return stepLookup
	case path == "sys/leases/renew", path == "auth/token/renew-self":
		return stepRenew
	case path == "sys/leases/revoke":
		return stepRevoke
	case path == "auth/token/revoke-self":
		return stepEnd
	}
	return stepOther
}

// vaultLine is a line of the audit file.
type vaultLine struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"` // request or response
	Request struct {
		ID   string `json:"id"`
		Path string `json:"path"`
	} `json:"request"`
}

// audited is how long Vault took for each request of the audit file from offset on, in
// milliseconds and by step: each has a line before and after it.
func (v *vaultServer) audited(offset int64) (map[string][]float64, error) {
	f, err := os.Open(v.log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	began, took := map[string]time.Time{}, map[string][]float64{}
	for d := stdjson.NewDecoder(f); ; {
		var l vaultLine
		switch err := d.Decode(&l); {
		case errors.Is(err, io.EOF):
			return took, nil
		case err != nil:
			return nil, fmt.Errorf("read the audit file of Vault: %w", err)
		}
		if l.Type == "request" {
			began[l.Request.ID] = l.Time
		} else if at, ok := began[l.Request.ID]; ok {
			step := stepOf(l.Request.Path)
			took[step] = append(took[step], milliseconds(l.Time.Sub(at)))
		}
	}
}

// written is where the audit file ends.
func (v *vaultServer) written() (int64, error) {
	info, err := os.Stat(v.log)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
