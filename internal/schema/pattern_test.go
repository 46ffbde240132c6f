package schema_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/schema"
)

func TestLeadingLookaheadOfZodsEmailPattern(t *testing.T) {
	s := mustCompileInput(t, `{"type":"object","properties":{"to":{"type":"string","format":"email","pattern":"^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"}}}`)
	s.accepts(`{"to":"alice.b@example.com"}`)
	for _, bad := range []string{".alice@example.com", "al..ice@example.com", "alice", "x\nalice@example.com"} {
		b, _ := json.Marshal(bad)
		if err := s.Check(jsontext.Value(`{"to":` + string(b) + `}`)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	for _, pattern := range []string{`^(?=a)b|c`, `^(?!a)*b`, `^(?=(?!a))b`, `^(?=a`} {
		b, _ := json.Marshal(pattern)
		if _, err := schema.CompileInput(jsontext.Value(`{"type":"object","properties":{"a":{"pattern":` + string(b) + `}}}`)); err == nil || !strings.Contains(err.Error(), "error parsing regexp") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}
