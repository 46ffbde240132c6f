package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/sqlite"
)

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0", 100: "100", 1000: "1,000", 123456: "123,456", 1_000_000: "1,000,000"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
}

// TestGrowthIsTakenWithinARound: a round on a slow machine weighs as much.
func TestGrowthIsTakenWithinARound(t *testing.T) {
	rd := func(few, many, database float64) storeRound {
		return storeRound{Sign: sample{Rate: 4 * few},
			Few:  map[string]sample{grantRefresh: {Rate: few, CPU: 100, Database: 100}},
			Many: map[string]sample{grantRefresh: {Rate: many, CPU: 100, Database: database}}}
	}
	r := newStoreRow(namePostgres, grantRefresh, []storeRound{rd(1000, 500, 300), rd(10, 5, 300)})
	if r.Growth != (spread{0.5, 0.5, 0.5}) || r.GrowthCPU != (spread{2, 2, 2}) || r.Few.Share != (spread{0.25, 0.25, 0.25}) {
		t.Errorf("growth %v, of CPU %v, share of signing %v; want 0.5, 2 and 0.25 in both rounds", r.Growth, r.GrowthCPU, r.Few.Share)
	}
}

// TestStoreThatWasNotMeasuredHasNoRow: a machine without PostgreSQL must not report
// that PostgreSQL does nothing.
func TestStoreThatWasNotMeasuredHasNoRow(t *testing.T) {
	s := storeResults{Grants: [2]int{few, 1_000_000}, Rounds: map[string][]storeRound{nameSQLite: {{}}}}
	s.finish()
	for _, text := range []string{string(s.markdown(machine{})), fmt.Sprint(s.charts())} {
		if strings.Contains(text, namePostgres) || !strings.Contains(text, nameSQLite+", "+grantRefresh) {
			t.Errorf("want SQLite alone: %s", text)
		}
	}
	for _, g := range s.Growth {
		if g.Met {
			t.Errorf("%s: met by nothing", g.Name)
		}
	}
}

// rotating answers like a token endpoint that gives each refresh token once, and
// takes it once.
type rotating struct {
	mu   sync.Mutex // guards live
	live map[string]bool
}

func (s *rotating) issue() string {
	token := newSecret(refreshPrefix)
	s.live[token] = true
	return token
}

func (s *rotating) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := r.PostFormValue("refresh_token")
	if !s.live[token] {
		http.Error(w, "not a live refresh token", http.StatusBadRequest)
		return
	}
	delete(s.live, token)
	fmt.Fprintf(w, `{"access_token":"eyJ","refresh_token":"%s","scope":"mcp:tools"}`, s.issue())
}

// selfProcess stands for a server in this process.
func selfProcess(url string) *process {
	p := newProcess("self", "")
	p.url, p.cmd.Process = url, &os.Process{Pid: os.Getpid()}
	return p
}

// TestRefreshLoadNeverSendsATokenTwice: that would measure the revocation of a family.
func TestRefreshLoadNeverSendsATokenTwice(t *testing.T) {
	s := &rotating{live: map[string]bool{}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	h := &house{process: selfProcess(srv.URL), tokens: make([][]string, connections)}
	for i := range h.tokens {
		h.tokens[i] = []string{s.issue(), s.issue()}
	}
	l, err := h.refreshLoad(config{time: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.run(t.Context())
	if err != nil || len(got.wrong) > 0 {
		t.Fatalf("%v, wrong answers %q", err, got.wrong)
	}
	if got.Calls <= 2*connections {
		t.Skipf("%d calls: too slow a machine to see a token come back", got.Calls)
	}
}

// TestCodesThatRunOutEndTheMeasurement, and none at all is reported: it must not
// pass for a measurement.
func TestCodesThatRunOutEndTheMeasurement(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"access_token":"eyJ"}`) }))
	defer srv.Close()
	h := &house{process: selfProcess(srv.URL)}
	for n, want := range map[int]string{0: "not one right answer", 3: ""} {
		l, err := h.load(config{time: time.Minute}, formHeader, [][]string{make([]string, n)})
		if err != nil {
			t.Fatal(err)
		}
		l.once, l.warm, l.right = true, 0, rightToken
		got, err := l.run(t.Context())
		if err != nil || got.Calls != n {
			t.Errorf("%d codes: %d calls, %v", n, got.Calls, err)
		}
		var r results
		r.note("codes", got)
		if (want == "") != (len(r.Errors) == 0) || !strings.Contains(r.errorText(), want) {
			t.Errorf("%d codes: %q, want %q", n, r.errorText(), want)
		}
	}
}

// TestAnswerWithoutRefreshTokenIsWrong: what has no successor would be sent again.
func TestAnswerWithoutRefreshTokenIsWrong(t *testing.T) {
	token := newSecret(refreshPrefix)
	for answer, want := range map[string]bool{
		`{"access_token":"eyJ","refresh_token":"` + token + `"}`:            true,
		`{"access_token":"eyJ"}`:                                            false,
		`{"access_token":"eyJ","refresh_token":"` + token[:20] + `","a":""`: false,
		`{"refresh_token":"` + token + `"}`:                                 false,
	} {
		if got := rightTokens(http.StatusOK, []byte(answer)); got != want {
			t.Errorf("rightTokens(%s) = %v", answer, got)
		}
	}
	if rightTokens(http.StatusBadRequest, []byte(`{"access_token":"eyJ","refresh_token":"`+token+`"}`)) {
		t.Error("an error passes for a right answer")
	}
}

// TestClearLeavesTheGrantsThatAreToStay: each round begins with as many as the last.
func TestClearLeavesTheGrantsThatAreToStay(t *testing.T) {
	path := t.TempDir() + "/grants.db"
	store, _, err := fillSQLite(t.Context(), path, few)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h := &house{process: selfProcess("http://127.0.0.1"), store: store, expires: time.Now().Add(time.Hour)}
	codes, err := h.newCodes(t.Context(), 2)
	if err != nil || len(codes) != connections || len(codes[0]) != 2 {
		t.Fatalf("newCodes: %d lists, %v", len(codes), err)
	}
	if err := h.clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The grants that stay expire in the year 2255: nothing else is left to expire.
	left, err := store.(*sqlite.Store).DeleteExpired(t.Context(), time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC))
	if want := int64(few + few + few + few/10*6); err != nil || left != want {
		t.Errorf("%d rows left, %v; want %d: authorizations, codes, refresh tokens, and a tenth as many of six more", left, err, want)
	}
}

// TestCPUOfFamilyCountsChildren: PostgreSQL works in children of its own.
func TestCPUOfFamilyCountsChildren(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc")
	}
	before, err := cpuOfFamily(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done").Run(); err != nil {
		t.Fatal(err)
	}
	own, err1 := cpuOf(os.Getpid())
	after, err2 := cpuOfFamily(os.Getpid())
	if err1 != nil || err2 != nil || after <= before || after <= own {
		t.Errorf("cpuOfFamily went from %v to %v with a child that worked, own %v; %v %v", before, after, own, err1, err2)
	}
}

func TestQuickTakesATenthOfTheGrants(t *testing.T) {
	for args, want := range map[string]int{"": 1_000_000, "-quick": 100_000, "-quick -grants 7000": 7000, "-stores -grants 101": 101} {
		cfg, err := parseFlags(strings.Fields(args), io.Discard)
		if err != nil || cfg.grants != want || cfg.storesOnly != strings.Contains(args, "-stores") {
			t.Errorf("%q: %+v, %v; want %d grants", args, cfg, err, want)
		}
	}
	if _, err := parseFlags([]string{"-grants", "100"}, io.Discard); err == nil {
		t.Error("-grants 100: no error, and nothing to compare with")
	}
}

// TestPostgresEndsWithTheBench, and leaves nothing.
func TestPostgresEndsWithTheBench(t *testing.T) {
	binaries := postgresBinaries()
	if binaries == "" {
		t.Skip("PostgreSQL is not installed")
	}
	p, err := startPostgres(t.Context(), binaries)
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "listen_addresses": ""} {
		out, err := exec.Command(binaries+"/psql", "-XqAt", "-h", p.url, "-U", "postgres", "-c", "SHOW "+setting).Output()
		if err != nil || string(bytes.TrimSpace(out)) != want {
			t.Errorf("%s = %q, %v; want %q as in production, on no network", setting, out, err, want)
		}
	}
	p.stop()
	if _, err := os.Stat(p.url); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.postmaster)); len(line) > 0 { // a zombie has none
		t.Errorf("the server still runs: %q", line)
	}
}
