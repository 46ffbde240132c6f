package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	for _, tt := range []struct {
		sorted []int
		p      float64
		want   int
	}{
		{nil, 50, 0},
		{[]int{7}, 1, 7},
		{[]int{7}, 99, 7},
		{[]int{1, 2, 3, 4}, 50, 2},
		{[]int{1, 2, 3, 4}, 51, 3},
		{[]int{1, 2, 3, 4}, 100, 4},
		{[]int{1, 2, 3, 4}, 0, 1},
		{[]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 99, 10},
	} {
		if got := percentile(tt.sorted, tt.p); got != tt.want {
			t.Errorf("percentile(%v, %v) = %d, want %d", tt.sorted, tt.p, got, tt.want)
		}
	}
}

func TestSpreadOf(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		if got := spreadOf(tt.values); got != tt.want {
			t.Errorf("spreadOf(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

// TestTargetIsNotMetByNothing: a run that measured nothing must not look good.
func TestTargetIsNotMetByNothing(t *testing.T) {
	for _, tt := range []struct {
		found float64
		least bool
		want  bool
	}{{0.5, false, true}, {0.8, false, false}, {0.8, true, true}, {0.5, true, false}, {0, false, false}} {
		if got := newTarget("", spreadOf([]float64{tt.found}), 0.7, tt.least).Met; got != tt.want {
			t.Errorf("found %v, bound 0.7, at least %v: met = %v, want %v", tt.found, tt.least, got, tt.want)
		}
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	fast := round{Many: map[string]sample{nameGateway: {Rate: 400}, nameFloor: {Rate: 200}}}
	slow := round{Many: map[string]sample{nameGateway: {Rate: 40}, nameFloor: {Rate: 20}}}
	if got := targets([]round{fast, slow})[1].Found; got != (spread{2, 2, 2}) {
		t.Errorf("requests/s against the floor's = %v, want 2 in both rounds", got)
	}
}

func TestMemoryAndCPUOfThisProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc")
	}
	rss, err := memoryOf(os.Getpid(), "VmRSS")
	if err != nil || rss < 1 || rss > 4096 {
		t.Errorf("memoryOf(self) = %v MiB, %v", rss, err)
	}
	if _, err := cpuOf(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := memoryOf(os.Getpid(), "VmNothing"); err == nil {
		t.Error("memoryOf of an unknown field: no error")
	}
}

// TestStartSaysWhatWentWrong: the error has the program's own words.
func TestStartSaysWhatWentWrong(t *testing.T) {
	_, err := start(t.Context(), "broken", "/bin/sh", "-c", "echo the port is taken >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("start of a program that fails: %v, want its stderr", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	if _, err := start(ctx, "slow", "/bin/sh", "-c", "exec sleep 60"); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("start after a cancel: %v, want its cause", err)
	}
}

// TestHelperStopsWhenAsked: one that does not would hold up the end of every run.
func TestHelperStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stdout, done := newOutput(), make(chan error, 1)
	go func() { done <- run(ctx, []string{"null"}, stdout, io.Discard) }()
	for changed := stdout.changed(); stdout.String() == ""; changed = stdout.changed() {
		<-changed
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("null server after a cancel: %v", err)
	}
}

// TestBench runs everything for a moment: that it works, not how fast.
func TestBench(t *testing.T) {
	if os.Getenv("WICKETGATE_BENCH") != "1" {
		t.Skip("set WICKETGATE_BENCH=1 to run the whole bench for a moment")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "bench")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "-quick", "-time", "100ms", "-grants", "1000", "-out", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("bench: %v\n%s", err, out)
	}
	for _, want := range slices.Concat([]string{"added p50", "requests/s at 16", "1,000 grants as to 100", "without reloads"}, tokenNames, grantNames, credentialNames(t)) {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the output has no %q:\n%s", want, out)
		}
	}
	checkResults(t, filepath.Join(dir, "results.json"))
	checkPlots(t, dir)
}

func checkResults(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r results
	if err := stdjson.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Errors) > 0 || len(r.Rounds) != 2 || len(r.Targets) != 6 {
		t.Errorf("%d rounds, %d targets, wrong answers %v; want 2, 6 and none", len(r.Rounds), len(r.Targets), r.Errors)
	}
	checkStores(t, r.Stores)
	checkCredentials(t, r.Credentials)
	for i, rd := range r.Rounds {
		if rd.Reloads.Times == 0 || rd.Reloads.With.Calls == 0 {
			t.Errorf("round %d has no policy reloads under load: %+v", i+1, rd.Reloads)
		}
		if len(rd.One) != len(callNames) || len(rd.Many) != len(callNames) || len(rd.Token) != len(tokenNames) {
			t.Errorf("round %d has %d, %d and %d samples, want %d, %[5]d and %d", i+1, len(rd.One), len(rd.Many), len(rd.Token), len(callNames), len(tokenNames))
		}
		for _, samples := range []map[string]sample{rd.One, rd.Many, rd.Token} {
			for name, s := range samples {
				if s.Calls == 0 || s.P50 <= 0 || s.P99 < s.P50 || s.RSS <= 0 {
					t.Errorf("round %d, %s: %+v", i+1, name, s)
				}
			}
		}
	}
}

func checkStores(t *testing.T, s *storeResults) {
	t.Helper()
	stores := []string{nameSQLite}
	if postgresBinaries() != "" {
		stores = append(stores, namePostgres)
	}
	if s == nil || len(s.Rounds) != len(stores) || len(s.Rows) != 3*len(stores) || len(s.Growth) != len(s.Rows) {
		t.Fatalf("stores: %+v, want rounds of %v and three rows of each", s, stores)
	}
	for _, store := range stores {
		for i, rd := range s.Rounds[store] {
			for _, samples := range []map[string]sample{{nameSign: rd.Sign}, rd.Few, rd.Many} {
				for name, s := range samples {
					if s.Calls == 0 || s.P50 <= 0 {
						t.Errorf("%s, round %d, %s: %+v", store, i+1, name, s)
					}
				}
			}
			if len(rd.Few) != 3 || len(rd.Many) != 3 {
				t.Errorf("%s, round %d: %d and %d grants, want 3", store, i+1, len(rd.Few), len(rd.Many))
			}
		}
	}
}

func checkPlots(t *testing.T, dir string) {
	want := 9
	if len(credentialNames(t)) > 0 {
		want += 2
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(files) != want {
		t.Fatalf("%d plots, %v; want %d", len(files), err, want)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(b)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s is not XML: %v", file, err)
				break
			}
		}
	}
}
