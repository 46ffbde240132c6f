package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/sqlite"
)

// Clients of a house.
const (
	workload    = "bench-workload"
	application = "bench-application"
	callback    = "http://127.0.0.1/callback"
)

// grantStore is what the bench itself asks of a store.
type grantStore interface {
	InTx(ctx context.Context, f func(ctx context.Context) error) error
	InsertCode(ctx context.Context, a authz.Authorization, c authz.Code) error
	DeleteExpired(ctx context.Context, now time.Time) (int64, error)
	Close() error
}

// house is a wicketgate serve with a store that has so many grants.
type house struct {
	*process
	database *process   // PostgreSQL; nil with SQLite
	store    grantStore // the same store, from here
	secret   string     // of the workload
	tokens   [][]string // refresh tokens that the last codes gave, by connection

	// Everything that the rounds add to the store expires then, so that it can be told
	// from the grants that are to stay.
	expires time.Time
}

// everyCode gives each grant a used code, of which Grow makes a tenth: issue 3 asks
// what a code costs among a million of them.
const everyCode = `DELETE FROM codes; INSERT INTO codes (hash, authorization_id, redirect_uri, challenge, jkt, expires_at, used_at)
	SELECT hash, authorization_id, '` + callback + `', '', '', expires_at, 1 FROM refresh_tokens`

// fillSQLite makes a database with so many grants, and returns how to reach it
// from here and from wicketgate.yaml.
func fillSQLite(ctx context.Context, path string, grants int) (grantStore, string, error) {
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, "", err
	}
	if err = sqlite.Grow(ctx, s, grants); err == nil {
		err = execSQLite(ctx, path, everyCode)
	}
	if closed := s.Close(); err == nil { // which folds the WAL into the file
		err = closed
	}
	if err != nil {
		return nil, "", err
	}
	if s, err = sqlite.OpenAsIs(ctx, path); err != nil {
		return nil, "", err
	}
	return s, fmt.Sprintf("store: {sqlite: {path: %q}}\n", path), nil
}

func execSQLite(ctx context.Context, path, statement string) error {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=cache_size(-200000)"}).String())
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}

// startHouse starts wicketgate serve over a store.
func startHouse(ctx context.Context, name, binary, dir, upstream string, store grantStore, further string) (*house, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	h := &house{store: store, secret: rand.Text() + rand.Text(), expires: time.Now().Add(2 * time.Hour)}
	sum := sha256.Sum256([]byte(h.secret))
	config := filepath.Join(dir, "wicketgate.yaml")
	for path, content := range map[string]string{
		filepath.Join(dir, "access.yaml"): access,
		filepath.Join(dir, "kek"):         base64.StdEncoding.EncodeToString(sum[:]) + "\n", // beside a store that is there, none is made
		config: `issuer: http://` + address + `
listen: ` + address + `
admin: {listen: "127.0.0.1:0"}
data: data
key_encryption_key: kek
policy: access.yaml
trust: first-use
servers:
  - {name: "` + serverName + `", url: "` + upstream + `/mcp", budget: {calls: 0, streams: 0, bytes: 0}} # one subject makes all the load
clients:
  - {id: ` + workload + `, secret_sha256: ` + hex.EncodeToString(sum[:]) + `}
  - {id: ` + application + `, auth_method: none, redirect_uris: ["` + callback + `"], grant_types: [authorization_code, refresh_token]}
` + further,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	h.process, err = start(ctx, name, binary, "serve", "--config", config)
	return h, err
}

// freeAddress is an address that nobody listens at: the issuer has to be in the
// configuration before anything listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (h *house) resource() string { return h.url + "/mcp/" + serverName }

// load is requests to the token endpoint, by connection.
func (h *house) load(cfg config, header http.Header, forms [][]string) (load, error) {
	requests, err := formRequests(h.url+"/oauth2/token", header, forms)
	return load{server: h.process, database: h.database, requests: requests, warm: cfg.warm() / 2, time: cfg.time / 2}, err
}

// verifier is the PKCE code_verifier (RFC 7636 §4.1) of all codes.
const verifier = "the-code-verifier-of-every-code-of-the-bench"

// newCodes adds authorizations with codes to the store, n for each connection.
// They are not used, and do not expire while we measure.
func (h *house) newCodes(ctx context.Context, n int) ([][]string, error) {
	challenge := sha256.Sum256([]byte(verifier))
	now := time.Now()
	a := authz.Authorization{ClientID: identity.MustClientID(application), Resource: h.resource(), Scope: "mcp:tools",
		AuthTime: now, Created: now, Expires: h.expires}
	c := authz.Code{RedirectURI: callback, Challenge: base64.RawURLEncoding.EncodeToString(challenge[:]), Expires: h.expires}
	var err error
	if a.Subject, err = identity.ParseSubject("bench-person"); err != nil {
		return nil, err
	}
	codes := make([][]string, connections)
	err = h.store.InTx(ctx, func(ctx context.Context) error {
		for i := range codes {
			codes[i] = nil // a transaction may run again
			for range n {
				code := newSecret("wg_ac_")
				sum := sha256.Sum256([]byte(code))
				a.ID, c.Hash = rand.Text(), sum[:]
				if err := h.store.InsertCode(ctx, a, c); err != nil {
					return err
				}
				codes[i] = append(codes[i], code)
			}
		}
		return nil
	})
	return codes, err
}

// newSecret looks like one of package authz.
func newSecret(prefix string) string {
	var b [32]byte
	rand.Read(b[:])
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func (h *house) codeForm(code string) string {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {application}, "code": {code}, "code_verifier": {verifier},
		"redirect_uri": {callback}, "resource": {h.resource()}}.Encode()
}

func (h *house) refreshForm(token string) string {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {application}, "refresh_token": {token}, "resource": {h.resource()}}.Encode()
}

// clear removes from the store what the round has added to it. What has expired
// stays for a day there.
func (h *house) clear(ctx context.Context) error {
	for {
		n, err := h.store.DeleteExpired(ctx, h.expires.Add(25*time.Hour))
		if err != nil || n == 0 {
			return err
		}
	}
}
