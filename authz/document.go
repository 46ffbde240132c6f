package authz

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/net/publicsuffix"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

// Bounds of client ID metadata documents.
const (
	maxDocument    = 5 << 10 // bytes (draft-ietf-oauth-client-id-metadata-document-01 §6.6)
	maxDocumentURL = 1 << 10 // bytes
)

// unreadable is a digest that no document has, for a grant that could not be read.
const unreadable = "unreadable"

// DocumentsOffered reports whether clients may be known by their metadata
// documents (client_id_metadata_document_supported).
func (s *Server) DocumentsOffered() bool {
	return s.cfg.Fetcher != nil && !s.cfg.Registration.NoDocuments
}

// snapshot is what a client ID metadata document said: the one that has the digest,
// or the last. It is read again each time, so that what has been forbidden since
// does not live on in a grant. It returns ErrNotFound.
func (s *Server) snapshot(ctx context.Context, id identity.ClientID, digest string) (Client, error) {
	if digest == unreadable {
		return Client{}, errors.New("read what a grant of a client is bound to")
	}
	if err := s.checkURL(id.String()); err != nil || !s.DocumentsOffered() {
		return Client{}, ErrNotFound
	}
	d, err := s.cfg.Store.Document(ctx, id, digest)
	if err != nil {
		return Client{}, err
	}
	c, err := s.parseDocument(d)
	if err != nil {
		return Client{}, fmt.Errorf("%w: %v", ErrNotFound, err) // no *oauth.Error: what was refused is not what the caller sent
	}
	return c, nil
}

// resolve finds a client for the authorization endpoint, the only one that may
// have a metadata document fetched: elsewhere the client has proven nothing and no
// person is there. A snapshot that is not fresh any more counts for no new grant,
// even if the document cannot be had: what was taken out of it may be why.
func (s *Server) resolve(ctx context.Context, id identity.ClientID) (Client, error) {
	c, err := s.cfg.Store.Client(ctx, id)
	if !isDocument(id) || !s.DocumentsOffered() || !errors.Is(err, ErrNotFound) {
		return c, err
	}
	if err := s.checkURL(id.String()); err != nil {
		return Client{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_id is not the https URL of a client metadata document: it must have a path, and no fragment, user information or dot segments", Cause: err}
	}
	d, err := s.cfg.Store.Document(ctx, id, "")
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Client{}, err
	}
	known := err == nil
	if known && s.cfg.Now().Before(d.Fresh) {
		if c, err := s.parseDocument(d); err == nil {
			return c, nil
		}
	}
	return s.fetch(ctx, id, known)
}

// fetch gets the document within the quota of who publishes it. Nothing is kept of
// a failure (draft §4.4), and the person is told the same whatever it was: more
// would tell what is inside (draft §6.5).
func (s *Server) fetch(ctx context.Context, id identity.ClientID, known bool) (Client, error) {
	// Anybody can make up any number of documents that are not known, so that each try
	// counts. Of one that is known only failures do: it is fetched when it is stale, by
	// however many people who come at once.
	limit, now := s.quotas.documents, s.cfg.Now()
	key, try := publisher(id.String()), limit.allow
	if known {
		key, try = id.String(), limit.has
	}
	if !try(key, now) {
		return Client{}, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "the metadata of this application was asked for too often: try again in a minute"}
	}
	c, err := s.fetchDocument(ctx, id)
	var unread *oauth.Error
	if errors.As(err, &unread) {
		if known {
			limit.allow(key, now)
		}
		s.cfg.Log.InfoContext(ctx, "client metadata document", "client_id", id, "request_id", web.RequestID(ctx), "error", unread.Cause)
	}
	return c, err
}

func (s *Server) fetchDocument(ctx context.Context, id identity.ClientID) (Client, error) {
	now := s.cfg.Now()
	body, fresh, err := s.cfg.Fetcher.Get(ctx, id.String(), maxDocument)
	if err != nil {
		return Client{}, errDocument(err)
	}
	sum := sha256.Sum256(body)
	d := Document{ClientID: id, Digest: base64.RawURLEncoding.EncodeToString(sum[:]), Body: body, Fetched: now, Fresh: fresh}
	c, err := s.parseDocument(d)
	if err != nil {
		return Client{}, errDocument(err)
	}
	if err := s.cfg.Store.PutDocument(ctx, d); err != nil {
		return Client{}, err
	}
	return c, nil
}

func errDocument(cause error) error {
	return &oauth.Error{Code: oauth.InvalidRequest, Description: "the metadata of this application could not be read: try again, and tell its maker if that does not help", Cause: cause}
}

// publisher is who answers for the host of a URL: the domain that was registered,
// as its owner can make up names below it.
func publisher(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL
	}
	host := strings.ToLower(u.Hostname())
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}

// checkURL checks a URL that a client has us fetch (draft §3, and stricter): what
// two programs could read in two ways is refused. The Fetcher looks at where it
// leads.
func (s *Server) checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	path := strings.ToLower(u.EscapedPath())
	switch {
	case len(raw) > maxDocumentURL, u.String() != raw, strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' || r == '#' }):
		return errors.New("too long, or in an odd spelling, or with a fragment")
	case u.User != nil, !validHost(u.Hostname()):
		return errors.New("user information, or no host or an odd one")
	case !strings.HasPrefix(path, "/"):
		return errors.New("no path")
	case strings.Contains(path, "%2e"), strings.Contains(path, "%2f"), strings.Contains(path, "%5c"), strings.Contains(path+"/", "/./"), strings.Contains(path+"/", "/../"):
		return errors.New("dot segments, or escapes that could make some")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()) && s.onLoopback():
		return nil
	}
	return errors.New("not https")
}

// onLoopback reports whether this server is one for development, where a document
// may be on the same machine (draft §6.5).
func (s *Server) onLoopback() bool {
	u, err := url.Parse(s.cfg.Issuer)
	return err == nil && isLoopback(u.Hostname())
}

// documentMetadata is a client ID metadata document (draft §4.1). Unknown members
// are ignored, logo_uri among them: we show no logo.
type documentMetadata struct {
	clientMetadata
	ClientID        string         `json:"client_id"`
	AuthMethods     []string       `json:"token_endpoint_auth_methods_supported"` // OpenID Connect RP Metadata Choices 1.0
	Secret          jsontext.Value `json:"client_secret"`
	SecretExpiresAt jsontext.Value `json:"client_secret_expires_at"`
}

// parseDocument makes a client of a document, by the rules of registration.
func (s *Server) parseDocument(d Document) (Client, error) {
	var m documentMetadata
	if err := json.Unmarshal(d.Body, &m); err != nil {
		return Client{}, err
	}
	switch {
	case m.ClientID != d.ClientID.String(): // simple string comparison (RFC 3986 §6.2.1)
		return Client{}, errors.New("client_id is not the URL of the document")
	case m.Secret != nil, m.SecretExpiresAt != nil:
		return Client{}, errors.New("client_secret in a public document")
	case strings.TrimSpace(m.Name) == "":
		return Client{}, errors.New("no client_name")
	}
	var err error
	if m.AuthMethod, err = m.authMethod(); err != nil {
		return Client{}, err
	}
	complete, err := s.complete(m.clientMetadata)
	if err != nil {
		return Client{}, err
	}
	c := complete.client()
	c.ID, c.Created, c.Digest = d.ClientID, d.Fetched.Truncate(time.Microsecond), d.Digest
	if !c.May(oauth.GrantAuthorizationCode) {
		return Client{}, errors.New("grant_types without authorization_code")
	}
	return c, nil
}

// authMethod is what the client is held to: the method that it prefers, else the
// first of those that it can do and we take. There is no secret to share with a
// document (draft §4.1).
func (m documentMetadata) authMethod() (string, error) {
	if strings.HasPrefix(m.AuthMethod, "client_secret_") {
		return "", errors.New("authentication method with a shared secret")
	}
	for _, method := range append([]string{m.AuthMethod}, m.AuthMethods...) {
		if method == oauth.AuthNone || method == oauth.AuthPrivateKeyJWT {
			return method, nil
		}
	}
	if m.AuthMethod == "" && len(m.AuthMethods) == 0 {
		return oauth.AuthNone, nil
	}
	return "", errors.New("no authentication method that we take")
}
