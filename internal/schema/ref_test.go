package schema_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/schema"
)

// A28: TestRemoteReferenceIsNeverFetched serves the documents that the schemas refer to,
// and must see nobody ask for them.
func TestRemoteReferenceIsNeverFetched(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"type":"object"}`))
	}))
	srv.Config.ConnState = func(net.Conn, http.ConnState) { asked.Add(1) }
	srv.Start()
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(file, []byte(`{"type":"object"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{
		`{"type":"object","properties":{"a":{"$ref":"` + srv.URL + `/s"}}}`,
		`{"type":"object","properties":{"a":{"$ref":"` + srv.URL + `/s#/a"}}}`,
		`{"type":"object","$id":"` + srv.URL + `/root","properties":{"a":{"$ref":"s"}}}`,
		`{"type":"object","properties":{"a":{"$id":"` + srv.URL + `/x/","properties":{"b":{"$ref":"s#b"}}}}}`,
		`{"type":"object","$schema":"` + srv.URL + `/meta"}`,
		`{"type":"object","properties":{"a":{"$schema":"` + srv.URL + `/meta"}}}`,
		`{"type":"object","properties":{"a":{"$dynamicRef":"` + srv.URL + `/s"}}}`,
		`{"type":"object","properties":{"a":{"$ref":"file://` + file + `"}}}`,
		`{"type":"object","$id":"file://` + file + `","properties":{"a":{"$ref":"other.json"}}}`,
		`{"type":"object","properties":{"a":{"$ref":"` + file + `"}}}`,
		`{"type":"object","properties":{"a":{"$ref":"https://json-schema.org/draft/2020-12/schema"}}}`,
	} {
		for name, compile := range map[string]func(jsontext.Value) (*schema.Schema, error){"CompileInput": schema.CompileInput, "CompileOutput": schema.CompileOutput} {
			if _, err := compile(jsontext.Value(raw)); err == nil {
				t.Errorf("%s(%s) = nil error", name, raw)
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}
