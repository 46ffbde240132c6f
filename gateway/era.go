package gateway

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Protocol versions that are spoken, newest first. Those of the session era begin with
// initialize; those of the stateless era say everything in every request.
var (
	statelessVersions = []string{"2026-07-28"}
	sessionVersions   = []string{"2025-11-25", "2025-06-18", "2025-03-26"}
)

// Members of _meta that belong to the protocol (MCP 2026-07-28, basic, _meta).
const (
	metaPrefix       = "io.modelcontextprotocol/"
	metaVersion      = metaPrefix + "protocolVersion"
	metaClient       = metaPrefix + "clientInfo"
	metaCapabilities = metaPrefix + "clientCapabilities"
	metaServer       = metaPrefix + "serverInfo"
	metaSubscription = metaPrefix + "subscriptionId"
)

// meta is what the _meta of a request says.
type meta struct {
	version      string         // empty in the session era
	client       jsontext.Value // an object, or nil
	capabilities jsontext.Value // an object, or nil
	progress     jsontext.Value // progressToken, or nil
}

func parseMeta(params object) (meta, error) {
	v := params.get("_meta")
	if v == nil {
		return meta{}, nil
	}
	o, err := readObject(v)
	if err == nil {
		err = o.only(metaVersion, metaClient, metaCapabilities, "progressToken")
	}
	if err != nil {
		return meta{}, err
	}
	m := meta{version: text(o.get(metaVersion)), client: o.get(metaClient), capabilities: o.get(metaCapabilities), progress: o.get("progressToken")}
	if o.get(metaVersion) != nil && m.version == "" || m.client != nil && m.client.Kind() != '{' {
		return meta{}, errBadParams
	}
	return m, nil
}

// stateless reports whether a request is of the stateless era: it says so in its _meta,
// or in the header, and then it must in both (MCP 2026-07-28, versioning).
func stateless(h http.Header, m meta) bool {
	v := h.Get("MCP-Protocol-Version")
	return m.version != "" || len(v) == len("2026-07-28") && v >= statelessVersions[len(statelessVersions)-1]
}

// checkStateless holds the headers of a request to its body, on which alone everything
// is decided (MCP 2026-07-28, streamable HTTP, server validation).
func checkStateless(h http.Header, msg message, m meta) *rpcError {
	if m.version == "" || m.capabilities == nil || m.capabilities.Kind() != '{' {
		return &rpcError{Code: codeInvalidParams, Message: "_meta needs " + metaVersion + " and " + metaCapabilities, status: http.StatusBadRequest, reason: "meta_missing"}
	}
	if e := sameHeader(h, "MCP-Protocol-Version", m.version); e != nil {
		return e
	}
	if e := sameHeader(h, "Mcp-Method", msg.method); e != nil {
		return e
	}
	if !slices.Contains(statelessVersions, m.version) {
		return errVersion(m.version)
	}
	if name, ok := msg.named(); ok {
		return sameHeader(h, "Mcp-Name", name)
	}
	return nil
}

// named is what the header Mcp-Name must say, if the method has one.
func (m message) named() (string, bool) {
	switch m.method {
	case "tools/call", "prompts/get":
		return text(m.params.get("name")), true
	case "resources/read":
		return text(m.params.get("uri")), true
	}
	return "", false
}

func sameHeader(h http.Header, name, want string) *rpcError {
	values := h.Values(name)
	switch {
	case len(values) == 0:
		return errHeader(name + " is missing")
	case len(values) > 1:
		return errHeader(name + " is there more than once")
	}
	got, err := decodeHeader(values[0])
	if err != nil {
		return errHeader(name + " " + err.Error())
	}
	if got != want {
		return errHeader(name + " is not what the body says")
	}
	return nil
}

func errHeader(what string) *rpcError {
	return &rpcError{Code: codeHeaderMismatch, Message: "Header mismatch: " + what, status: http.StatusBadRequest, reason: "header_mismatch"}
}

func errVersion(asked string) *rpcError {
	return &rpcError{Code: codeVersion, Message: "Unsupported protocol version", status: http.StatusBadRequest, reason: "version_unsupported",
		Data: fmt.Appendf(nil, `{"supported":%s,"requested":%s}`, spoken(), quote(truncate(asked)))}
}

// The form of a header value that is no plain ASCII.
const (
	encodedPrefix = "=?base64?"
	encodedSuffix = "?="
)

// decodeHeader reads a value of Mcp-Name or Mcp-Param-… (streamable HTTP, value encoding).
func decodeHeader(v string) (string, error) {
	if b, ok := strings.CutPrefix(v, encodedPrefix); ok {
		if b, ok := strings.CutSuffix(b, encodedSuffix); ok {
			text, err := base64.StdEncoding.Strict().DecodeString(b)
			if err != nil {
				return "", fmt.Errorf("is not base64 between %s and %s", encodedPrefix, encodedSuffix)
			}
			return string(text), nil
		}
	}
	if !plainHeader(v) {
		return "", fmt.Errorf("has characters that must be written as %s…%s", encodedPrefix, encodedSuffix)
	}
	return v, nil
}

// encodeHeader writes one.
func encodeHeader(v string) string {
	sentinel := strings.HasPrefix(v, encodedPrefix) && strings.HasSuffix(v, encodedSuffix)
	if plainHeader(v) && !sentinel && strings.Trim(v, " \t") == v {
		return v
	}
	return encodedPrefix + base64.StdEncoding.EncodeToString([]byte(v)) + encodedSuffix
}

func plainHeader(v string) bool {
	for i := range len(v) {
		if c := v[i]; (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}
