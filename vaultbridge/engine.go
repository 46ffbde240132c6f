package vaultbridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// minted is what the path of a server answered.
type minted struct {
	credential credential.Credential
	name       string        // for the audit log: the lease_id, or path and version
	leaseID    string        // empty: there is none
	ttl        time.Duration // 0: it has no end of its own
	renewable  bool
	age        time.Duration // of a static key, of one that is refused too; 0: unknown, or new
}

// reading is how an engine is asked: with the token of one call.
type reading struct {
	vault *vault.Client
	token vault.Token
	now   time.Time
}

// mint asks for a credential for the subject.
func (s Server) mint(ctx context.Context, r reading, subject identity.Subject) (minted, error) {
	path, err := fill(s.Path, subject)
	if err != nil {
		return minted{}, err
	}
	var m minted
	var values map[string]string
	switch s.Engine {
	case KV:
		m, values, err = s.readKV(ctx, r, path)
	case DatabaseStatic:
		m, values, err = s.readStatic(ctx, r, path)
	case PKI:
		m, values, err = s.issue(ctx, r, path, subject)
	default:
		m, values, err = s.lease(ctx, r, path, subject)
	}
	if err != nil {
		return m, err
	}
	if m.credential, err = s.Inject.Render(values); err != nil {
		return minted{}, &Failure{BadTemplate, "inject what " + path + " answered", err}
	}
	return m, nil
}

// lease is for what has an end of its own: users of a database, or anything else.
func (s Server) lease(ctx context.Context, r reading, path string, subject identity.Subject) (minted, map[string]string, error) {
	var secret vault.Secret
	request, err := s.request(subject)
	switch {
	case err != nil:
		return minted{}, nil, err
	case len(request) > 0:
		secret, err = r.vault.Write(ctx, r.token, path, request)
	default:
		secret, err = r.vault.Read(ctx, r.token, path, nil)
	}
	if err != nil {
		return minted{}, nil, err
	}
	return minted{name: secret.LeaseID, leaseID: secret.LeaseID, ttl: secret.TTL, renewable: secret.Renewable}, texts(secret.Data), nil
}

// readKV reads a secret of the KV engine, version 2. Its age is that of the version: who
// writes the same key again makes it young, which nobody can tell.
func (s Server) readKV(ctx context.Context, r reading, path string) (minted, map[string]string, error) {
	query := url.Values{}
	if s.Version > 0 {
		query.Set("version", strconv.Itoa(s.Version))
	}
	secret, err := r.vault.Read(ctx, r.token, path, query)
	if err != nil {
		return minted{}, nil, err
	}
	metadata, _ := secret.Data["metadata"].(map[string]any)
	about := texts(metadata)
	version, err := strconv.Atoi(about["version"])
	switch {
	case err != nil:
		return minted{}, nil, s.malformed(path, "there is no version: is the mount one of KV version 2?")
	case about["destroyed"] == "true", about["deletion_time"] != "":
		return minted{}, nil, &Failure{VersionGone, "read " + path, fmt.Errorf("version %d was deleted or destroyed: restore it (vault kv undelete), or set version to another one", version)}
	case s.Version > 0 && version != s.Version:
		return minted{}, nil, s.malformed(path, fmt.Sprintf("it is version %d, and version %d was asked for", version, s.Version))
	}
	data, _ := secret.Data["data"].(map[string]any)
	m := minted{name: fmt.Sprintf("%s@%d", path, version)}
	m.age, err = s.age(r.now, about["created_time"])
	return m, texts(data), err
}

// readStatic reads a user whose password Vault changes. Until then it is good.
func (s Server) readStatic(ctx context.Context, r reading, path string) (minted, map[string]string, error) {
	secret, err := r.vault.Read(ctx, r.token, path, nil)
	if err != nil {
		return minted{}, nil, err
	}
	values := texts(secret.Data)
	rotated := values["last_vault_rotation"]
	m := minted{name: path + "@" + rotated}
	if left, err := strconv.Atoi(values["ttl"]); err == nil && s.shared() { // a call of its own goes on with what it has
		m.ttl = time.Duration(left) * time.Second
	}
	m.age, err = s.age(r.now, rotated)
	return m, values, err
}

func (s Server) malformed(path, what string) error {
	return &Failure{vault.Malformed, "read " + path, errors.New(what)}
}

// texts are the values that a template can take: texts and numbers, and lists of texts as
// their lines (ca_chain).
func texts(data map[string]any) map[string]string {
	values := map[string]string{}
	for name, v := range data {
		switch v := v.(type) {
		case string:
			values[name] = v
		case json.Number:
			values[name] = v.String()
		case bool:
			values[name] = strconv.FormatBool(v)
		case []any:
			var lines []string
			for _, line := range v {
				if line, ok := line.(string); ok {
					lines = append(lines, line)
				}
			}
			values[name] = strings.Join(lines, "\n")
		}
	}
	return values
}

// request is what is written to the path.
func (s Server) request(subject identity.Subject) (map[string]any, error) {
	request := map[string]any{}
	for name, value := range maps.All(s.Request) {
		filled, err := fill(value, subject)
		if err != nil {
			return nil, err
		}
		request[name] = filled
	}
	return request, nil
}
