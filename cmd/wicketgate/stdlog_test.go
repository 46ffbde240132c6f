package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestServerThatSpeaksUnaskedWritesNothingIntoOurLog: net/http logs by itself what comes on a
// connection that is kept.
func TestServerThatSpeaksUnaskedWritesNothingIntoOurLog(t *testing.T) {
	said := newLog()
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	if code := run(t.Context(), []string{"--help"}, io.Discard, said); code != 0 {
		t.Fatal(code)
	}
	kept, gone := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		<-kept
		_, _ = io.WriteString(conn, "the key is a-secret-of-somebody")
		<-gone
	}))
	defer s.Close()
	defer close(gone)
	c := &http.Client{Transport: transport()}
	resp, err := c.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(resp.Body)
	resp.Body.Close()
	close(kept)
	if log := said.with("Unsolicited response"); strings.Contains(log, "a-secret") || strings.Contains(log, "the key is") {
		t.Error(log)
	}
}
