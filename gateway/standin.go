package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/redact"
)

// literals stands in for (*redact.Redactor).Literal.
type literals []string

func literal(values []string) literals {
	var all literals
	for _, v := range values {
		q := string(quote(v))
		all = append(all, q[1:len(q)-1], v, url.QueryEscape(v), hex.EncodeToString([]byte(v)), base64.StdEncoding.EncodeToString([]byte(v)), base64.URLEncoding.EncodeToString([]byte(v)), base64.RawStdEncoding.EncodeToString([]byte(v)))
	}
	return all
}

func (l literals) JSON(v jsontext.Value) (jsontext.Value, redact.Found, error) {
	if !v.IsValid() {
		return nil, redact.Found{}, errNotJSON
	}
	out, found := v, redact.Found{}
	for _, s := range l {
		if n := bytes.Count(out, []byte(s)); n > 0 {
			found[0] += n
			out = bytes.ReplaceAll(out, []byte(s), []byte(mask))
		}
	}
	if found.Total() == 0 {
		return nil, found, nil
	}
	return out, found, nil
}

func (l literals) Text(s string) string {
	for _, v := range l {
		s = strings.ReplaceAll(s, v, mask)
	}
	return s
}
