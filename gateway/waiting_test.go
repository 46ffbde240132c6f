package gateway

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// vanished is a client that has gone.
type vanished struct{ http.ResponseWriter }

func (vanished) Write([]byte) (int, error) { return 0, errors.New("gone") }

// glass is a Sealer that hides nothing.
type glass struct{}

func (glass) Seal(plain []byte) []byte          { return plain }
func (glass) Open(sealed []byte) ([]byte, bool) { return sealed, true }

// A question that does not reach its client is remembered by nobody, or clients that go
// away would fill the memory.
func TestQuestionThatReachesNobodyIsForgotten(t *testing.T) {
	g := &Gateway{cfg: Config{Sealer: glass{}, Now: time.Now}}
	p := &passage{g: g, out: &stream{w: vanished{httptest.NewRecorder()}}, session: session{Capabilities: jsontext.Value(`{"roots":{}}`)}}
	d := &dialogue{p: p}
	if _, err := d.ask(member{"a", jsontext.Value(`{"method":"roots/list"}`)}); err == nil || len(g.waiting.open) != 0 {
		t.Errorf("%d are remembered: %v", len(g.waiting.open), err)
	}
}

// One subject cannot have so many calls wait for it that nobody else's can.
func TestSubjectCannotHaveEveryCallWait(t *testing.T) {
	var lot parkingLot
	d := &dialogue{p: &passage{}, ctx: t.Context(), cut: func(error) {}, body: http.NoBody}
	for i := range maxParkedOwner + 1 {
		if _, ok := lot.put(d); ok != (i < maxParkedOwner) {
			t.Fatalf("call %d waits: %t", i, ok)
		}
	}
	lot.abandonAll()
}
