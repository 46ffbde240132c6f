package metadata

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

const wellKnown = "/.well-known/"

// serve answers GET, HEAD and OPTIONS at the pattern with what doc returns, and any
// other method with 405.
func serve(mux *http.ServeMux, pattern string, doc func() ([]byte, error)) {
	answer := web.Public(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := doc()
		if err != nil {
			_ = web.WriteJSON(w, http.StatusInternalServerError, &oauth.Error{Code: oauth.ServerError})
			return
		}
		write(w, r, b)
	}))
	mux.Handle("GET "+pattern, answer) // and HEAD
	mux.Handle("OPTIONS "+pattern, answer)
	mux.Handle(pattern, web.Public(http.HandlerFunc(notAllowed)))
}

func fixed(doc []byte) func() ([]byte, error) {
	return func() ([]byte, error) { return doc, nil }
}

// serveNothing is everywhere below /.well-known/ where nothing else is, for every
// method. Pages of any origin may read that, as they may read the documents.
func serveNothing(mux *http.ServeMux) {
	nothing := web.Public(http.HandlerFunc(notFound))
	mux.Handle(wellKnown, nothing)
	mux.Handle(strings.TrimSuffix(wellKnown, "/"), nothing) // or the mux redirects it to the former
}

// Exact goes around a mux that documents are registered at. The mux redirects a
// path that is not clean (two slashes, dot segments) before any handler is asked;
// below /.well-known/ such a path is no address of a document and answers 404.
func Exact(h http.Handler) http.Handler {
	nothing := web.Public(http.HandlerFunc(notFound))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.EscapedPath()
		clean := path.Clean("/" + p)
		if strings.HasSuffix(p, "/") && clean != "/" {
			clean += "/"
		}
		if clean != p && (strings.HasPrefix(p, wellKnown) || strings.HasPrefix(clean, wellKnown)) {
			nothing.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// notFound may not be kept: tomorrow there may be something.
func notFound(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "there is no metadata document at this address", http.StatusNotFound)
}

func notAllowed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET, HEAD, OPTIONS")
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "metadata documents are read with GET", http.StatusMethodNotAllowed)
}

// write lets caches keep the document for a minute: a rotated key is known that
// soon. After that they ask whether it is still the same (RFC 9110 §13.1.2).
func write(w http.ResponseWriter, r *http.Request, doc []byte) {
	sum := sha256.Sum256(doc)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:]) + `"`
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("ETag", etag)
	if noneMatch(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(doc)))
	_, _ = w.Write(doc) // fails only when the client has gone
}

// noneMatch reports whether the client has what etag stands for. The comparison is
// the weak one (RFC 9110 §13.1.2): a proxy that compresses makes our tag weak.
func noneMatch(sent []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(sent, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}
