package policies

import (
	"errors"
	"strings"
)

// plainPath reports whether s is an absolute path that is, for every server, however it
// resolves paths, below what it seems to be below.
func plainPath(s string) bool {
	if len(s) > maxPlace || !strings.HasPrefix(s, "/") || !plainURI(s) || strings.ContainsFunc(s, unseen) {
		return false
	}
	for i, segment := range strings.Split(s[1:], "/") {
		last := i == strings.Count(s[1:], "/")
		switch strings.TrimRight(segment, " .") { // Windows drops those
		case segment:
		default:
			return false
		}
		if segment == "" && (!last || i == 0) {
			return false
		}
	}
	return true
}

// pathMatches lists what of access.yaml names the path: itself, and each folder that it
// is below, as "/srv/data/*". It is nil for what is not plain.
func pathMatches(s string) []string {
	if !plainPath(s) {
		return nil
	}
	out := []string{s}
	for i := range len(s) - 1 { // a folder is not below itself
		if s[i] == '/' {
			out = append(out, s[:i+1]+every)
		}
	}
	return out
}

var errPath = errors.New(`write a plain absolute path, as /srv/x.txt, or "/srv/data/*" for all below a folder; with no ".", "..", "\", "//", %2e, %2f, %5c, %25, nor "/" at the end`)

// checkPath takes what pathMatches can return.
func checkPath(s string) error {
	path, below := strings.CutSuffix(s, every)
	switch {
	case strings.Contains(path, every), below && !strings.HasSuffix(path, "/"), !below && strings.HasSuffix(path, "/"):
		return errPath
	case below && path == "/", plainPath(path):
		return nil
	}
	return errPath
}
