package gateway

import (
	"net/http"
	"strings"

	"github.com/wicketgate/wicketgate/internal/token"
)

// presented reads the token of a request, and what keys its sender has proved to
// have. Only the Authorization header counts, never the query (RFC 6750 §2.3).
func (g *Gateway) presented(r *http.Request, _ *upstream) (raw string, proof token.Confirmation, err error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", proof, errNoToken
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return "", proof, token.ErrMalformed
	}
	return raw, proof, nil
}
