// Package vaulttest gives tests a real HashiCorp Vault: the core of the version that
// tools/vault pins, with KV, database (PostgreSQL), transit and PKI, and every way of
// logging in that the product has. It starts in a tenth of a second.
//
// It does NOT set anything up in it but a KV version 2 at secret/: deploy/vault does.
package vaulttest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/needed"
)

// RootToken is that of every Vault that is started here.
const RootToken = "root"

// startTimeout bounds a start on a machine that is busy.
const startTimeout = 60 * time.Second

// Program is the path of vault. The test ends where it is not built.
func Program(t testing.TB) string {
	t.Helper()
	return needed.Built(t, "vault", "github.com/wicketgate/wicketgate/tools/vault", "make unit-tools")
}

// Vault is a running Vault. Its URL stays when it is killed and started again.
type Vault struct {
	URL    string
	Unseal string         // the unseal key
	CAs    *x509.CertPool // of StartTLS, as CAFile
	CAFile string         // with the same in PEM

	http      *http.Client
	address   string
	data      string
	arguments []string
	log       lockedBuffer

	process *exec.Cmd
	ended   chan struct{}
}

// Start runs a Vault with a data folder of its own until the end of the test. The further
// arguments are tools/vault's: -tls-cert, -tls-key, -client-ca.
func Start(t testing.TB, arguments ...string) *Vault {
	t.Helper()
	v := &Vault{http: http.DefaultClient, address: "127.0.0.1:" + freeport.Port(t), data: t.TempDir(), arguments: arguments}
	v.start(t)
	return v
}

func (v *Vault) start(t testing.TB) {
	t.Helper()
	v.Run(t)
	t.Cleanup(func() {
		v.Kill()
		if t.Failed() {
			t.Log("vault:", v.log.String())
		}
	})
}

// Run starts it, again after Kill, with what it knew.
func (v *Vault) Run(t testing.TB) {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	v.process = exec.Command(Program(t), append([]string{"-addr", v.address, "-root-token", RootToken, "-data", v.data, "-ready-file", ready}, v.arguments...)...)
	v.process.Stdout, v.process.Stderr = io.Discard, &v.log
	if err := v.process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	v.ended = ended
	go func(c *exec.Cmd) { _ = c.Wait(); close(ended) }(v.process)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for tick := time.Tick(10 * time.Millisecond); ; <-tick {
		if b, err := os.ReadFile(ready); err == nil {
			v.read(t, b)
			return
		}
		select {
		case <-ended:
			t.Fatal("vault ended at once: ", v.log.String())
		case <-ctx.Done():
			t.Fatal("vault does not answer")
		default:
		}
	}
}

func (v *Vault) read(t testing.TB, ready []byte) {
	var r struct {
		Addr   string `json:"addr"`
		Unseal string `json:"unseal_key"`
	}
	if err := json.Unmarshal(ready, &r); err != nil {
		t.Fatal(err)
	}
	v.URL, v.Unseal = r.Addr, r.Unseal
}

// Kill ends it, in the middle of what it does, and waits for that.
func (v *Vault) Kill() {
	_ = v.process.Process.Kill()
	<-v.ended
}

// Seal seals it: it answers nothing but 503 until UnsealAgain.
func (v *Vault) Seal(t testing.TB) { t.Helper(); v.Do(t, http.MethodPut, "sys/seal", nil) }

// UnsealAgain is the end of Seal.
func (v *Vault) UnsealAgain(t testing.TB) {
	t.Helper()
	v.Do(t, http.MethodPut, "sys/unseal", map[string]any{"key": v.Unseal})
}

// Do is one request with the root token; the test ends if it fails. It returns the answer,
// nil where there is none.
func (v *Vault) Do(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	out, err := v.Ask(t.Context(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Ask is Do for what may fail.
func (v *Vault) Ask(ctx context.Context, method, path string, body any) (map[string]any, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, v.URL+"/v1/"+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", RootToken)
	resp, err := v.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("vault: %s %s: HTTP %d: %s", method, path, resp.StatusCode, answer)
	}
	if len(answer) == 0 {
		return nil, nil
	}
	var out map[string]any
	return out, json.Unmarshal(answer, &out)
}

// lockedBuffer is what a process writes while others read it.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
