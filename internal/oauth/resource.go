package oauth

import (
	"errors"
	"maps"
	"net/url"
	"strings"
)

// ErrBadResource is returned by ParseResource.
var ErrBadResource = errors.New("resource must be an absolute http or https URI without fragment and user information")

// Resource is a resource indicator (RFC 8707 §2): the absolute URI of a
// protected resource, in the one spelling that tokens carry as aud.
type Resource struct{ uri string }

// ParseResource checks and makes a Resource. It does not normalise: two
// spellings are two resources, and Resources maps the known aliases.
func ParseResource(s string) (Resource, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") ||
		strings.Contains(s, "#") || len(s) > 2048 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Resource{}, ErrBadResource
	}
	return Resource{s}, nil
}

// String returns the URI.
func (r Resource) String() string { return r.uri }

// IsZero reports whether r names no resource.
func (r Resource) IsZero() bool { return r.uri == "" }

// Resources are the protected resources that tokens may be for. A public one may
// be asked for by any client; an internal one (an upstream) only by the exchanger
// in process. The zero value knows none.
type Resources struct {
	public   map[string]Resource // by every accepted spelling
	internal map[string]bool
	only     Resource            // the public one, where there is one alone
	reserved map[string]reserved // by client_id
}

// reserved is a resource that is for some clients alone.
type reserved struct {
	resource Resource
	scopes   []string
}

// NewResources makes the registry. What is given as both is internal; a spelling
// that is a resource of its own is no alias.
func NewResources(public, internal []Resource) Resources {
	r := Resources{public: map[string]Resource{}, internal: map[string]bool{}}
	for _, p := range public {
		r.public[alias(p.uri)] = p
	}
	for _, p := range public {
		r.public[p.uri] = p
	}
	for _, i := range internal {
		r.internal[i.uri] = true
	}
	maps.DeleteFunc(r.public, func(s string, p Resource) bool { return p.IsZero() || r.internal[s] || r.internal[p.uri] })
	for _, p := range r.public {
		if r.only = p; len(public) != 1 {
			r.only = Resource{}
		}
	}
	return r
}

// And returns r with one more public resource, which stands for all others: it is never
// the only one that there is.
func (r Resources) And(every Resource) Resources {
	if every.IsZero() || r.internal[every.uri] {
		return r
	}
	r.public = maps.Clone(r.public)
	if _, taken := r.public[alias(every.uri)]; !taken {
		r.public[alias(every.uri)] = every
	}
	r.public[every.uri] = every
	return r
}

// Reserve returns r with a resource for these clients alone, by their client_id. They may
// ask for no other one; to everybody else it looks unknown. Scopes are all that a token
// for it may have.
func (r Resources) Reserve(own Resource, scopes []string, clients ...string) Resources {
	r.public, r.reserved = maps.Clone(r.public), maps.Clone(r.reserved)
	maps.DeleteFunc(r.public, func(_ string, p Resource) bool { return p == own })
	if r.reserved == nil {
		r.reserved = map[string]reserved{}
	}
	for _, c := range clients {
		r.reserved[c] = reserved{own, scopes}
	}
	return r
}

// Reserved reports whether the client has a resource of its own, and no other.
func (r Resources) Reserved(client string) bool {
	_, ok := r.reserved[client]
	return ok
}

// Scopes are those that a token for the resource may have, besides tools by their names.
func (r Resources) Scopes(of Resource) []string {
	for _, own := range r.reserved {
		if own.resource == of {
			return own.scopes
		}
	}
	return DefaultScopes()
}

// OneFor is One for a client that may have a resource of its own.
func (r Resources) OneFor(client string, sent []string) (Resource, error) {
	own, ok := r.reserved[client]
	switch {
	case !ok:
		return r.One(sent)
	case len(sent) == 1 && (sent[0] == own.resource.uri || sent[0] == alias(own.resource.uri)):
		return own.resource, nil
	}
	return Resource{}, ErrInvalidTarget()
}

// Public resolves what a client sent as resource to the registered resource:
// exactly, or with the trailing slash that some clients add or drop. An unknown
// and an internal one look the same: not found.
func (r Resources) Public(s string) (Resource, bool) {
	p, ok := r.public[s]
	return p, ok
}

// Internal reports whether s is exactly an internal resource.
func (r Resources) Internal(s Resource) bool { return !s.IsZero() && r.internal[s.uri] }

// One resolves the resource parameters of a request (RFC 8707 §2), of which we
// honour exactly one. None is the only resource that there is, for clients that send
// none (the Go SDK's client credentials). It returns invalid_target, worded alike for
// a missing, an unknown and a forbidden one.
func (r Resources) One(sent []string) (Resource, error) {
	if len(sent) == 0 && !r.only.IsZero() {
		return r.only, nil
	}
	if len(sent) == 1 {
		if p, ok := r.Public(sent[0]); ok {
			return p, nil
		}
	}
	return Resource{}, ErrInvalidTarget()
}

// ErrInvalidTarget is the one answer to every resource that cannot be had.
func ErrInvalidTarget() error {
	return &Error{Code: InvalidTarget, Description: "resource must be given once and be the URI of a protected resource of this server"}
}

// alias is the other spelling of a trailing slash.
func alias(s string) string {
	if t, ok := strings.CutSuffix(s, "/"); ok {
		return t
	}
	return s + "/"
}
