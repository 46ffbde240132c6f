package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSoakJudgesAnswers: what the soak does not notice, it shows nothing of.
func TestSoakJudgesAnswers(t *testing.T) {
	const own, other = "soak-1-7", "soak-2-7"
	said := func(payload string) soakMessage {
		return soakMessage{Method: "notifications/progress", raw: `{"params":{"message":"` + payload + `"}}`}
	}
	answer := func(id, payload string) soakMessage {
		result := `{"content":[{"type":"text","text":"` + payload + `"}]}`
		return soakMessage{ID: []byte(id), Result: []byte(result), raw: result}
	}
	for name, tt := range map[string]struct {
		messages []soakMessage
		steps    int
		wrong    string // part of the error; empty: none
	}{
		"right":                             {[]soakMessage{said(own), answer("7", own)}, 1, ""},
		"another client's result":           {[]soakMessage{answer("7", other)}, 0, "was told"},
		"another client's progress":         {[]soakMessage{said(other), answer("7", own)}, 1, "was told"},
		"another request's id":              {[]soakMessage{answer("8", own)}, 0, "answered under 8"},
		"stream that ends without a result": {[]soakMessage{said(own)}, 1, "0 answers"},
		"two results":                       {[]soakMessage{answer("7", own), answer("7", own)}, 0, "2 answers"},
		"progress that was dropped":         {[]soakMessage{said(own), answer("7", own)}, 2, "told 1 times"},
		"result without the payload":        {[]soakMessage{answer("7", "")}, 0, "was answered"},
	} {
		err := judge(tt.messages, 7, own, tt.steps)
		if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s: %v, want %q", name, err, tt.wrong)
		}
	}
}

func TestSoakSeesLeaksAndGrowth(t *testing.T) {
	before := vital{goroutines: 20, files: 20}
	for _, tt := range []struct {
		after vital
		want  string
	}{
		{vital{goroutines: 30, files: 30}, ""},
		{vital{goroutines: 60, files: 30}, "60 goroutines"},
		{vital{goroutines: 30, files: 60}, "60 open files"},
	} {
		if got := leaked(before, tt.after); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("leaked(%v) = %q, want %q", tt.after, got, tt.want)
		}
	}
	series := func(mib func(i int) float64) (s []vital) {
		for i := range 60 {
			s = append(s, vital{rss: mib(i)})
		}
		return s
	}
	flat := func(i int) float64 { return 100 + float64(i%7) }
	leak := func(i int) float64 { return 100 + float64(i) }
	if got := grown(series(flat)); got != "" {
		t.Errorf("flat memory has grown: %s", got)
	}
	if grown(series(leak)) == "" {
		t.Error("a mebibyte more each time has not grown")
	}
}

// TestSoak runs it for a moment: that it works, and not what only minutes show.
func TestSoak(t *testing.T) {
	if os.Getenv("WICKETGATE_BENCH") != "1" {
		t.Skip("set WICKETGATE_BENCH=1 to soak the gateway for a moment")
	}
	binary := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary, "soak", "-time", "10s", "-restart", "4s", "-sample", "1s").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("passed:")) {
		t.Fatalf("soak: %v\n%s", err, out)
	}
}
