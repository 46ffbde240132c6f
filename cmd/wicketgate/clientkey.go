package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// assertionLifetime is that of our client assertions: each is for one request.
const assertionLifetime = time.Minute

// clientKey is the private key by which we are a client of an authorization server.
type clientKey struct {
	id     identity.ClientID
	public jose.JSONWebKey
	signer jose.Signer
}

// exchangeByKey checks an exchange where we prove ourselves by a key.
func (c configCheck) exchangeByKey(x ExchangeConfig) {
	if x.SPIFFEID != "" || x.ClientID == "" || x.KeyFile == "" {
		c.refuse("exchange", "exchange needs either spiffe_id, or client_id and key_file")
		return
	}
	out := &exchangeConfig{URL: x.URL}
	id, err := identity.ParseClientID(x.ClientID)
	if err != nil {
		c.refuse("exchange.client_id", "exchange.client_id is %s: %v", shown(x.ClientID), err)
	}
	pem, ok := c.secretFile("exchange.key_file", x.KeyFile)
	if !ok {
		return
	}
	if out.Key, err = newClientKey(id, []byte(pem)); err != nil {
		c.refuse("exchange.key_file", "exchange.key_file: %s %v", c.file(x.KeyFile), err)
	}
	if x.CA != "" {
		if out.CAs, err = readCAs(c.file(x.CA)); err != nil {
			c.refuse("exchange.ca", "exchange.ca: %v", err)
		}
	}
	c.s.house.Exchange = out
}

var errNoKey = errors.New("is no Ed25519 or P-256 private key in PEM (PKCS #8): openssl genpkey -algorithm ed25519 makes one")

// newClientKey reads the PEM. Its kid is the thumbprint (RFC 7638).
func newClientKey(id identity.ClientID, text []byte) (*clientKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errNoKey
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errNoKey // the error may hold what is in the file
	}
	k := &clientKey{id: id}
	switch p := private.(type) {
	case ed25519.PrivateKey:
		k.public = jose.JSONWebKey{Key: p.Public(), Algorithm: string(jose.EdDSA), Use: "sig"}
	case *ecdsa.PrivateKey:
		k.public = jose.JSONWebKey{Key: p.Public(), Algorithm: string(jose.ES256), Use: "sig"}
		if p.Curve != elliptic.P256() {
			return nil, errNoKey
		}
	default:
		return nil, errNoKey
	}
	sum, err := k.public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	k.public.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	k.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.public.Algorithm), Key: private},
		(&jose.SignerOptions{}).WithType("client-authentication+jwt").WithHeader("kid", k.public.KeyID))
	return k, err
}

func (k *clientKey) client() (identity.ClientID, error) { return k.id, nil }

// assertion makes client assertions for the issuer (RFC 7523 §3), each good once.
func (k *clientKey) assertion(issuer string, now func() time.Time) func() (string, error) {
	return func() (string, error) {
		iat := now()
		claims, err := json.Marshal(map[string]any{"iss": k.id.String(), "sub": k.id.String(), "aud": issuer, "jti": rand.Text(),
			"iat": iat.Unix(), "exp": iat.Add(assertionLifetime).Unix()})
		if err != nil {
			return "", err
		}
		jws, err := k.signer.Sign(claims)
		if err != nil {
			return "", err
		}
		return jws.CompactSerialize()
	}
}

func keysJWKSCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "jwks FILE",
		Short: "Print the public key set of a client's private key",
		Long: `Prints the JWK Set (RFC 7517) of the private key in FILE, which is PEM: what the
authorization server wants as clients[].jwks_file of a client with private_key_jwt.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return printJWKS(args[0], c.OutOrStdout()) },
	}
}

func printJWKS(path string, stdout io.Writer) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	k, err := newClientKey(identity.ClientID{}, b)
	if err != nil {
		return fmt.Errorf("%s %w", path, err)
	}
	out, err := json.MarshalIndent(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.public}}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s\n", out)
	return err
}
