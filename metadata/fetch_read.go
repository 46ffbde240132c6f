package metadata

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of how long a document counts as fresh, whatever its server says
// (draft-ietf-oauth-client-id-metadata-document-02 §5.2): not fetched at every
// request, and a change is seen within the hour.
const (
	minFresh = time.Minute
	maxFresh = time.Hour
)

// read takes the document out of the response. It is not decoded here, so that
// nothing grows beyond maxBytes.
func (f *Fetcher) read(resp *http.Response, maxBytes int64) (Fetched, error) {
	switch {
	case resp.StatusCode != http.StatusOK: // a redirect too (draft §5)
		return Fetched{}, fmt.Errorf("status %d", resp.StatusCode)
	case len(resp.Header.Values("Content-Encoding")) != 0:
		return Fetched{}, errors.New("document is compressed")
	case !isJSON(resp.Header.Values("Content-Type")):
		return Fetched{}, errors.New("Content-Type is not application/json")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes+1))
	if err != nil {
		return Fetched{}, err
	}
	if int64(len(body)) > maxBytes {
		return Fetched{}, errors.New("document is too long")
	}
	now := f.cfg.Now()
	return Fetched{body, now.Add(min(max(lifetime(resp.Header, now), minFresh), maxFresh))}, nil
}

func isJSON(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	t, _, err := mime.ParseMediaType(contentType[0])
	return err == nil && (t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json"))
}

// lifetime is how long the response is fresh (RFC 9111 §4.2), for a cache that
// many share. What cannot be read counts as stale.
func lifetime(h http.Header, now time.Time) time.Duration {
	cc := cacheControl(h)
	for _, forbidden := range []string{"no-store", "no-cache", "private"} {
		if _, ok := cc[forbidden]; ok {
			return 0
		}
	}
	for _, name := range []string{"s-maxage", "max-age"} {
		if age, ok := cc[name]; ok {
			return seconds(age) - seconds(h.Get("Age"))
		}
	}
	expires, err := http.ParseTime(h.Get("Expires"))
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date // the server's clock against the server's clock
	}
	return max(expires.Sub(now), 0) - seconds(h.Get("Age"))
}

// cacheControl is the directives, the first of each (RFC 9111 §4.2.1).
func cacheControl(h http.Header) map[string]string {
	directives := map[string]string{}
	for d := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(d, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, ok := directives[name]; !ok {
			directives[name] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return directives
}

// seconds is a delta-seconds, at most 2^31 (RFC 9111 §1.2.2).
func seconds(s string) time.Duration {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		n = 1 << 31
	}
	return time.Duration(n) * time.Second
}
