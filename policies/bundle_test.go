package policies_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wicketgate/wicketgate/policies"
)

// signer signs bundles.
type signer struct {
	private string // PEM
	public  policies.BundleKey
}

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err1 := x509.MarshalPKCS8PrivateKey(key)
	public, err2 := x509.MarshalPKIXPublicKey(key.Public())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	inPEM := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return signer{inPEM("PRIVATE KEY", private), policies.BundleKey{PEM: inPEM("PUBLIC KEY", public), Algorithm: "ES256"}}
}

// made is a bundle to be signed.
type made struct {
	modules map[string]string
	data    []byte
	serial  any
	wasm    bool
}

func compiled(t *testing.T, access string) made {
	t.Helper()
	c, err := policies.Compile(t.Context(), policies.Config{Access: []byte(access)})
	if err != nil {
		t.Fatal(err)
	}
	return made{modules: c.Modules, data: c.Data}
}

// pack returns the tarball, with the signature of whoever gives one.
func (m made) pack(t *testing.T, sign *bundle.SigningConfig) []byte {
	t.Helper()
	b := bundle.Bundle{Data: map[string]any{}}
	b.Manifest.Init()
	if m.serial != nil {
		b.Manifest.Metadata = map[string]any{"serial": m.serial}
	}
	if len(m.data) > 0 {
		if err := json.Unmarshal(m.data, &b.Data); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.modules)) {
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: "/" + name, Path: "/" + name, Raw: []byte(m.modules[name])})
	}
	if m.wasm {
		b.WasmModules = []bundle.WasmModuleFile{{URL: "/policy.wasm", Path: "/policy.wasm", Raw: []byte("\x00asm")}}
	}
	if sign != nil {
		if err := b.GenerateSignature(sign, "somebody", false); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).DisableFormat(true).Write(b); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (s signer) sign(t *testing.T, m made) *policies.Bundle {
	t.Helper()
	return &policies.Bundle{Name: "bundle.tar.gz", Key: s.public, Tarball: m.pack(t, bundle.NewSigningConfig(s.private, "ES256", ""))}
}

// TestBundleDecidesAlike: what access.yaml compiles to decides the same out of a bundle.
func TestBundleDecidesAlike(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	s := newSigner(t)
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		own := newPDP(t, string(a.Files[0].Data))
		if own.Digest() == "" {
			continue // there is no policy
		}
		p, err := policies.New(t.Context(), policies.Config{Bundle: s.sign(t, compiled(t, string(a.Files[0].Data)))})
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for i := 1; i+1 < len(a.Files); i += 2 {
			q := request(t, a.Files[i].Data)
			want, got := own.Decide(t.Context(), q), p.Decide(t.Context(), q)
			if want.Allowed() != got.Allowed() || want.Reason != got.Reason || bareRule(want) != bareRule(got) || got.PolicyDigest != p.Digest() || p.Digest() == "" {
				t.Errorf("%s: %s\nbundle %+v\nown    %+v", f, a.Files[i].Data, got, want)
			}
		}
	}
}

// bareRule is the rule without where it is written.
func bareRule(d policies.Decision) string {
	_, rule, placed := strings.Cut(d.Rule, ": ")
	if !placed {
		return d.Rule
	}
	return rule
}

// TestForgedBundleIsRefused: whoever can write the file, or answer for the bundle server,
// and cannot sign, changes nothing.
func TestForgedBundleIsRefused(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	good := compiled(t, example)
	scoped := s.sign(t, good)
	scoped.Key.Scope = "production"
	more := good
	more.modules = maps.Clone(good.modules)
	more.modules["extra.rego"] = "package extra\n"
	for name, tt := range map[string]struct {
		bundle *policies.Bundle
		want   string
	}{
		"unsigned":                   {&policies.Bundle{Key: s.public, Tarball: good.pack(t, nil)}, "missing .signatures.json"},
		"signed by another":          {&policies.Bundle{Key: s.public, Tarball: other.sign(t, good).Tarball}, "failed to verify"},
		"with the public key as MAC": {&policies.Bundle{Key: s.public, Tarball: good.pack(t, bundle.NewSigningConfig(s.public.PEM, "HS256", ""))}, "failed to verify"},
		"of another scope":           {scoped, "scope mismatch"},
		"with a file of another":     {&policies.Bundle{Key: s.public, Tarball: merged(t, s.sign(t, good).Tarball, more.pack(t, nil))}, "not included in bundle signature"},
		"with other data":            {&policies.Bundle{Key: s.public, Tarball: merged(t, s.sign(t, good).Tarball, compiled(t, granting("x")).pack(t, nil))}, "digest mismatch"},
		"a patch":                    {&policies.Bundle{Key: s.public, Tarball: tarball(t, map[string]string{"/patch.json": `{"data": [{"op": "upsert", "path": "/users", "value": {}}]}`})}, "delta bundles"},
		"no tarball":                 {&policies.Bundle{Key: s.public, Tarball: []byte("rubbish")}, "no gzipped tarball"},
		"empty":                      {&policies.Bundle{Key: s.public}, "no gzipped tarball"},
	} {
		if p, err := policies.New(t.Context(), policies.Config{Bundle: tt.bundle}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want %q", name, p, err, tt.want)
		}
	}
}

// TestSignedBundleStaysWithinBounds: who may sign writes the policy, and no more.
func TestSignedBundleStaysWithinBounds(t *testing.T) {
	s := newSigner(t)
	rego := func(text string) made {
		return made{modules: map[string]string{"p.rego": "package wicketgate.access\n\n" + text}}
	}
	wasm := compiled(t, example)
	wasm.wasm = true
	named := compiled(t, example)
	named.data = []byte(`{"access_yaml": 7}`)
	serial := compiled(t, example)
	serial.serial = "seven"
	for name, tt := range map[string]struct {
		made made
		want string
	}{
		"sends what it sees": {rego(`decision := http.send({"method": "get", "url": "http://127.0.0.1/"})`), "undefined function http.send"},
		"reads the machine":  {rego(`decision := opa.runtime()`), "undefined function opa.runtime"},
		"has no decision":    {rego(`allow := true`), "no module has the rule data.wicketgate.access.decision"},
		"is elsewhere":       {made{modules: map[string]string{"p.rego": "package other\n\ndecision := {}"}}, "no module has the rule"},
		"is compiled":        {wasm, "only Rego"},
		"has no access.yaml": {named, "is no text"},
		"has no number":      {serial, "metadata.serial"},
		"does not parse":     {rego("decision :="), ""},
	} {
		if p, err := policies.New(t.Context(), policies.Config{Bundle: s.sign(t, tt.made)}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("a bundle that %s: %v, %v, want %q", name, p, err, tt.want)
		}
	}
}

// TestOldBundleIsRefused: a bundle that was good once has rules that were withdrawn.
func TestOldBundleIsRefused(t *testing.T) {
	s := newSigner(t)
	with := func(serial int, access string) *policies.Bundle {
		m := compiled(t, access)
		m.serial = serial
		return s.sign(t, m)
	}
	old, current, none := with(6, granting("one")), with(7, granting("two")), s.sign(t, compiled(t, granting("one")))
	p, err := policies.New(t.Context(), policies.Config{Bundle: current})
	if err != nil || p.Serial() != 7 {
		t.Fatalf("serial %d, %v", p.Serial(), err)
	}
	for _, b := range []*policies.Bundle{old, none} {
		b.Least = p.Serial()
		if _, err := policies.New(t.Context(), policies.Config{Bundle: b}); !errors.Is(err, policies.ErrRolledBack) {
			t.Errorf("older than what was in effect: %v", err)
		}
	}
	current.Least = 7
	if _, err := policies.New(t.Context(), policies.Config{Bundle: current}); err != nil {
		t.Errorf("the same again: %v", err)
	}
}

// TestBundleThatUnpacksToMuchIsRefused: a small file may be a large one.
func TestBundleThatUnpacksToMuchIsRefused(t *testing.T) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := io.CopyN(z, zeros{}, policies.MaxBundle+1); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	_, err := policies.New(t.Context(), policies.Config{Bundle: &policies.Bundle{Key: newSigner(t).public, Tarball: out.Bytes()}})
	if err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestBundleKey holds a key against its algorithm before anything is signed.
func TestBundleKey(t *testing.T) {
	s := newSigner(t)
	if err := s.public.Check(); err != nil {
		t.Error(err)
	}
	for name, k := range map[string]policies.BundleKey{
		"a private key":      {PEM: s.private, Algorithm: "ES256"},
		"of another curve":   {PEM: s.public.PEM, Algorithm: "ES384"},
		"of another kind":    {PEM: s.public.PEM, Algorithm: "RS256"},
		"a shared secret":    {PEM: s.public.PEM, Algorithm: "HS256"},
		"of no algorithm":    {PEM: s.public.PEM},
		"no PEM":             {PEM: "secret", Algorithm: "ES256"},
		"rubbish within PEM": {PEM: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", Algorithm: "ES256"},
	} {
		if k.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestBundleOfAFolder reads one as Kubernetes mounts it.
func TestBundleOfAFolder(t *testing.T) {
	s, dir := newSigner(t), t.TempDir()
	b := s.sign(t, compiled(t, example))
	real := filepath.Join(dir, "..2026_11_20")
	for name, content := range files(t, b.Tarball) {
		path := filepath.Join(real, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(path, link)); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if b.Tarball, err = policies.PackBundle(dir); err != nil {
		t.Fatal(err)
	}
	p, err := policies.New(t.Context(), policies.Config{Bundle: b})
	if err != nil || !p.Decide(t.Context(), call(t, "alice", "app", "mail", "list_messages")).Allowed() {
		t.Errorf("a folder: %v", err)
	}
	if !p.Names("mail") || p.Names("other") {
		t.Error("the servers of its access.yaml are not known")
	}
}

// TestBadBundleNeverTakesEffect is TestBadPolicyNeverTakesEffect of bundles.
func TestBadBundleNeverTakesEffect(t *testing.T) {
	s := newSigner(t)
	at := s.sign(t, compiled(t, granting("one")))
	l := policies.NewLive(policies.LiveConfig{Now: time.Now, Read: func(context.Context) (policies.Config, error) { return policies.Config{Bundle: at}, nil }})
	if _, err := l.Reload(t.Context()); err != nil || !mayCall(t, l, "one") {
		t.Fatal(err)
	}
	at = newSigner(t).sign(t, compiled(t, granting("two")))
	at.Key = s.public
	if _, err := l.Reload(t.Context()); err == nil || !mayCall(t, l, "one") || mayCall(t, l, "two") {
		t.Errorf("signed by another: %v", err)
	}
	at = s.sign(t, compiled(t, granting("two")))
	if changed, err := l.Reload(t.Context()); err != nil || !changed || !mayCall(t, l, "two") {
		t.Errorf("signed: %v", err)
	}
}

// tarball packs files by their names.
func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg})
		if _, err2 := io.WriteString(w, files[name]); errors.Join(err, err2) != nil {
			t.Fatal(err, err2)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func files(t *testing.T, tarball []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		b, err2 := io.ReadAll(r)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(b)
	}
}

// merged is the one tarball with the files of the other over its own, but for the
// signature.
func merged(t *testing.T, signed, over []byte) []byte {
	t.Helper()
	all := files(t, signed)
	maps.Copy(all, files(t, over))
	return tarball(t, all)
}

// TestBundleIsAskedAnewForAnotherLogin: a bundle with our Rego and data of somebody else,
// whose access.yaml is not known, must not share an answer between two logins of a name.
func TestBundleIsAskedAnewForAnotherLogin(t *testing.T) {
	m := compiled(t, "version: 1\nroles:\n  staff:\n    who: {groups: [staff]}\n    servers: {mail: {tools: [list_messages]}}\n")
	var data map[string]json.RawMessage
	if err := json.Unmarshal(m.data, &data); err != nil {
		t.Fatal(err)
	}
	for _, access := range []string{"", `"version: 1\n"`} { // absent, and another
		if delete(data, "access_yaml"); access != "" {
			data["access_yaml"] = json.RawMessage(access)
		}
		var err error
		if m.data, err = json.Marshal(data); err != nil {
			t.Fatal(err)
		}
		p, err := policies.New(t.Context(), policies.Config{Bundle: newSigner(t).sign(t, m)})
		if err != nil {
			t.Fatal(err)
		}
		q := call(t, "alice", "app", "mail", "list_messages")
		q.Groups = []string{"staff"}
		in := p.Decide(t.Context(), q)
		q.Groups = nil
		if out := p.Decide(t.Context(), q); !in.Allowed() || out.Allowed() {
			t.Errorf("in the group %+v, out of it %+v", in, out)
		}
	}
}
