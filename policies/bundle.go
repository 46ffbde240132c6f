package policies

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// MaxBundle is the most bytes that the files of a bundle have together.
const MaxBundle = 64 << 20

// Bundle is a signed OPA bundle that takes the place of access.yaml and of the embedded
// Rego: whoever can sign writes the policy. It answers data.wicketgate.access.decision.
type Bundle struct {
	Name    string // file, folder or URL, for errors
	Tarball []byte // see PackBundle for a folder
	Key     BundleKey

	// Least is the lowest serial, a number in the metadata of the manifest, that is not an
	// older bundle put back into place. 0: any, and none.
	Least int64
}

// BundleKey is who may sign.
type BundleKey struct {
	PEM       string // public key, or certificate
	Algorithm string // the only one that counts: RS, PS or ES with 256, 384 or 512, or EdDSA; no shared secret, since what can verify could sign
	Scope     string // that the signature must have; empty: none
}

// PackBundle returns the files of a folder as a tarball. Symbolic links to files are
// followed, and names that begin with ".." left out: that is how Kubernetes mounts a
// ConfigMap.
func PackBundle(folder string) ([]byte, error) {
	var out bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	if err != nil {
		return nil, err
	}
	packed := tar.NewWriter(zipped)
	err = errors.Join(packFolder(packed, os.DirFS(folder)), packed.Close(), zipped.Close())
	if err != nil {
		return nil, fmt.Errorf("read bundle %s: %w", folder, err)
	}
	return out.Bytes(), nil
}

func packFolder(packed *tar.Writer, from fs.FS) error {
	left := int64(MaxBundle)
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(d.Name(), "..") && d.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), "..") || d.IsDir():
			return nil
		}
		f, err := from.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, left+1))
		if err != nil {
			return err
		}
		if left -= int64(len(b)); left < 0 {
			return fmt.Errorf("more than %d MiB", MaxBundle>>20)
		}
		if err := packed.WriteHeader(&tar.Header{Name: "/" + name, Mode: 0o644, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = packed.Write(b)
		return err
	})
}

// opened is a bundle whose signature was verified.
type opened struct {
	modules map[string]string
	data    []byte
	access  string // the access.yaml that it was compiled from; may be empty
	serial  int64
}

// open verifies the signature over all files, and reads them.
func (b *Bundle) open() (opened, error) {
	if err := fits(b.Tarball); err != nil {
		return opened{}, err
	}
	const only = "wicketgate" // whatever key the signature names, there is one
	keys := map[string]*bundle.KeyConfig{only: {Key: b.Key.PEM, Algorithm: b.Key.Algorithm}}
	read, err := bundle.NewCustomReader(bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(b.Tarball), "")).
		WithBundleVerificationConfig(bundle.NewVerificationConfig(keys, only, b.Key.Scope, nil)).
		WithCapabilities(capabilities()).WithSizeLimitBytes(MaxBundle + 1).Read()
	if err != nil {
		return opened{}, err
	}
	if len(read.WasmModules)+len(read.PlanModules) > 0 {
		return opened{}, errors.New("it has compiled modules: only Rego is evaluated here")
	}
	return unpack(read)
}

// fits counts what a tarball unpacks to before anything is made of it.
func fits(tarball []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		return fmt.Errorf("it is no gzipped tarball: %w", err)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(z, MaxBundle+1))
	if err != nil {
		return fmt.Errorf("it is no gzipped tarball: %w", err)
	}
	if n > MaxBundle {
		return fmt.Errorf("it has more than %d MiB", MaxBundle>>20)
	}
	return nil
}

func unpack(read bundle.Bundle) (o opened, err error) {
	o.modules = map[string]string{}
	decides := false
	for _, m := range read.Modules {
		o.modules[strings.TrimPrefix(path.Clean(m.Path), "/")] = string(m.Raw)
		decides = decides || hasDecision(m.Parsed)
	}
	if !decides {
		return o, errors.New("no module has the rule " + query)
	}
	if o.data, err = json.Marshal(read.Data); err != nil { // has the numbers of OPA's decoder
		return o, err
	}
	if text, ok := read.Data[accessKey]; ok {
		if o.access, ok = text.(string); !ok {
			return o, fmt.Errorf("data.%s is no text: wicketgate policy compile writes it", accessKey)
		}
	}
	o.serial, err = serialOf(read.Manifest)
	return o, err
}

func hasDecision(m *ast.Module) bool {
	if m.Package.Path.String() != "data.wicketgate.access" {
		return false
	}
	for _, r := range m.Rules {
		if r.Head.Ref().String() == "decision" {
			return true
		}
	}
	return false
}

// serialOf reads metadata.serial, 0 if there is none.
func serialOf(m bundle.Manifest) (int64, error) {
	v, ok := m.Metadata["serial"]
	if !ok {
		return 0, nil
	}
	if n, ok := v.(json.Number); ok {
		if i, err := n.Int64(); err == nil && i > 0 {
			return i, nil
		}
	}
	return 0, errors.New("metadata.serial in the manifest is no whole number above 0")
}

// ErrRolledBack says that a bundle is older than one that was in effect.
var ErrRolledBack = errors.New("it is older than one that was in effect")

// newFromBundle makes a PDP of a bundle alone: there is no access.yaml beside it.
func newFromBundle(ctx context.Context, cfg Config) (*PDP, error) {
	b := cfg.Bundle
	o, err := b.open()
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Name, err)
	}
	if o.serial < b.Least {
		return nil, fmt.Errorf("bundle %s: serial %d: %w: sign it with metadata.serial of at least %d", b.Name, o.serial, ErrRolledBack, b.Least)
	}
	foreign := o.access == ""
	if cfg.Access = []byte(o.access); foreign {
		cfg.Access = []byte("version: 1\n") // nothing of the input is computed from it
	}
	cfg.Name = "data." + accessKey
	p, err := newPDP(ctx, cfg, func(*document) source { return source{modules: o.modules, data: o.data} })
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Name, err)
	}
	p.foreign, p.ours, p.serial = foreign, !foreign, o.serial
	return p, nil
}

// Check reports whether the key is a public one of its algorithm.
func (k BundleKey) Check() error {
	block, _ := pem.Decode([]byte(k.PEM))
	if block == nil {
		return errors.New("it has no PUBLIC KEY or CERTIFICATE in PEM")
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = c.PublicKey
		}
	default:
		return fmt.Errorf("it is a %s: only the public key belongs here", block.Type)
	}
	if err != nil {
		return err
	}
	return k.fits(public)
}

// fits holds the key against the algorithm, by its first letters.
func (k BundleKey) fits(public any) error {
	var good bool
	switch public := public.(type) {
	case *rsa.PublicKey:
		if good = strings.HasPrefix(k.Algorithm, "RS") || strings.HasPrefix(k.Algorithm, "PS"); good && public.N.BitLen() < 2048 {
			return errors.New("an RSA key needs 2048 bits")
		}
	case *ecdsa.PublicKey:
		curves := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}
		good = curves[k.Algorithm] == public.Curve
	case ed25519.PublicKey:
		good = k.Algorithm == "EdDSA"
	}
	if !good {
		return fmt.Errorf("it is no key of %s", k.Algorithm)
	}
	return nil
}
