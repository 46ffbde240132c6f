package redact_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/redact"
)

// ordinary is a result of a tool as most are: 600 bytes, nothing to redact, some of the
// words that secrets are found by.
var ordinary = jsontext.Value(`{"content":[{"type":"text","text":"{\"id\":\"m1\",\"from\":\"Ines Calder\",\"date\":\"2026-11-02T08:12:00Z\",\"subject\":\"Berth plan for this week\",\"body\":\"The Maribel moves to berth 4 on Wednesday. Please tell the crane crew that they have the key to the access road.\"}"}],` +
	`"structuredContent":{"id":"m1","from":"Ines Calder","date":"2026-11-02T08:12:00Z","subject":"Berth plan for this week","body":"The Maribel moves to berth 4 on Wednesday. Please tell the crane crew that they have the key to the access road."},"isError":false}`)

func BenchmarkResult(b *testing.B) { benchmark(b, defaults, ordinary) }

func BenchmarkResultAllClasses(b *testing.B) { benchmark(b, everything, ordinary) }

func BenchmarkText100KB(b *testing.B) {
	benchmark(b, defaults, text(strings.Repeat("The auditor asked for the key to room 4711, and they gave her the token. ", 1400)))
}

func BenchmarkText100KBAllClasses(b *testing.B) {
	benchmark(b, everything, text(strings.Repeat("The auditor asked for the key to room 4711, and they gave her the token. ", 1400)))
}

func BenchmarkText100KBInAnotherScript(b *testing.B) {
	benchmark(b, defaults, text(strings.Repeat("Ревизор попросила ключ от комнаты 4711, и ей дали жетон. ", 1000)))
}

func benchmark(b *testing.B, cfg redact.Config, v jsontext.Value) {
	r, err := redact.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(v)))
	for b.Loop() {
		if out, _, err := r.JSON(v); out != nil || err != nil {
			b.Fatal(string(out), err)
		}
	}
}

func text(s string) jsontext.Value {
	v, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		panic(err)
	}
	return v
}

var (
	defaults   = redact.Config{Secrets: redact.Mask, Card: redact.Mask, IBAN: redact.Mask}
	everything = redact.Config{Secrets: redact.Mask, Email: redact.Mask, Phone: redact.Mask, Card: redact.Mask, IBAN: redact.Mask}
)
