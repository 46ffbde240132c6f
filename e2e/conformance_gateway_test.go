package e2e_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// cell is the suite in one era over an upstream in one.
type cell struct{ revision, upstream string }

func (c cell) String() string { return c.revision + " over " + c.upstream }

// yardsticks has for each cell what the server alone is run as. Where the upstream speaks the
// revision, that is itself; where the gateway translates, it is the same server in the other
// mode.
var yardsticks = map[cell]cell{
	{modern, "stateless"}: {modern, "stateless"},
	{legacy, "sessions"}:  {legacy, "sessions"},
	{legacy, "stateless"}: {legacy, "stateless"},
	{modern, "sessions"}:  {modern, "stateless"},
	{legacy, "modern"}:    {legacy, "sessions"},
}

// A30: TestConformanceOfTheGateway runs MCP's own suite through the gateway, in both eras over an
// upstream of either, and against the same server without it: nothing may be worse, but for
// what conformance/baseline.yml has the reason of.
func TestConformanceOfTheGateway(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	upstreams := map[string]string{"stateless": startEverything(t, "stateless"), "sessions": startEverything(t, "sessions")}
	upstreams["modern"] = startModernOnly(t, upstreams["stateless"])
	h := startHouseBefore(t, theAgent, upstreams)
	alone := map[cell]checks{}
	for _, c := range yardsticks {
		if alone[c] == nil {
			alone[c] = suite(t, upstreams[c.upstream], c.revision)
		}
	}
	expected := readBaseline(t)
	for c, yardstick := range yardsticks {
		t.Run(c.String(), func(t *testing.T) {
			compare(t, alone[yardstick], suite(t, startInjector(t, h, c.upstream), c.revision), expected[c.String()])
		})
		delete(expected, c.String())
	}
	if len(expected) > 0 {
		t.Errorf("baseline.yml lists %q, which nobody runs", slices.Collect(maps.Keys(expected)))
	}
}

// A30, A3: TestConformanceOfHeadersOverAServerThatReadsNone is a server that believes the body alone:
// what the headers say otherwise, the gateway refuses in its stead.
func TestConformanceOfHeadersOverAServerThatReadsNone(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	const scenario, least = "http-header-validation", 4
	lax := startLax(t, startEverything(t, "stateless"))
	if alone := suite(t, lax, modern).of(scenario); len(alone.failing()) == 0 {
		t.Fatalf("the server alone fails nothing of %s: this test shows nothing", scenario)
	}
	h := startHouseBefore(t, theAgent, map[string]string{"lax": lax})
	through := suite(t, startInjector(t, h, "lax"), modern).of(scenario)
	if failing := through.failing(); len(failing) > 0 || len(through) < least {
		t.Errorf("%s through the gateway has %d checks, of which fail:\n%s", scenario, len(through), strings.Join(failing, "\n"))
	}
}

// checks is the worst result of each check, by "SCENARIO:CHECK".
type checks map[string]conformanceCheck

// severity orders results. A check that was not made is worse than one that succeeded. One
// that does not apply says so in INFO.
var severity = map[string]int{"SUCCESS": 0, "INFO": 0, notMade: 1, "SKIPPED": 1, "WARNING": 2, "FAILURE": 3}

const notMade = ""

// of is the checks of one scenario.
func (cs checks) of(scenario string) checks {
	out := maps.Clone(cs)
	maps.DeleteFunc(out, func(name string, _ conformanceCheck) bool { return !strings.HasPrefix(name, scenario+":") })
	return out
}

func (cs checks) failing() (out []string) {
	for name, c := range cs {
		if severity[c.Status] > severity["SKIPPED"] {
			out = append(out, name+" "+c.ErrorMessage)
		}
	}
	slices.Sort(out)
	return out
}

// compare fails the test for each check that is worse through the gateway and not
// expected to be, and for each that is expected to be and is not.
func compare(t *testing.T, alone, through checks, expected map[string]string) {
	t.Helper()
	names := maps.Clone(alone)
	maps.Copy(names, through)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		worse := alone[name].Status != "INFO" && severity[through[name].Status] > severity[alone[name].Status]
		_, listed := expected[name]
		switch {
		case worse && !listed:
			t.Errorf("%s: alone %q, through the gateway %q %s\n%.1000s", name, alone[name].Status, through[name].Status, through[name].ErrorMessage, through[name].Details)
		case listed && !worse:
			t.Errorf("baseline.yml lists %s, which is no worse than without the gateway: remove it", name)
		}
	}
	for name, reason := range expected {
		if _, ok := names[name]; !ok {
			t.Errorf("baseline.yml lists %s, which is no check", name)
		}
		if reason == "" {
			t.Errorf("baseline.yml has no reason for %s", name)
		}
	}
}

// suite runs the scenarios that the revision requires against the server.
func suite(t *testing.T, server, revision string) checks {
	t.Helper()
	results, printed := t.TempDir(), newOutput()
	cmd := exec.CommandContext(deadline(t), "../conformance/run.sh", server, revision, results)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = printed, printed, stopWithin
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: something failed, which is ours to judge
		t.Fatalf("conformance suite: %v\n%s", err, printed)
	}
	got := readChecks(t, results)
	if len(got) == 0 {
		t.Fatalf("the conformance suite made no check\n%s", printed)
	}
	return got
}

var scenarioFolder = regexp.MustCompile(`^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$`)

func readChecks(t *testing.T, dir string) checks {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "server-*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	got := checks{}
	for _, f := range files {
		m := scenarioFolder.FindStringSubmatch(filepath.Base(filepath.Dir(f)))
		var list []conformanceCheck
		if err := json.Unmarshal([]byte(readFile(t, f)), &list); err != nil || m == nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, c := range list {
			name := m[1] + ":" + c.ID
			if worst, ok := got[name]; !ok || severity[c.Status] > severity[worst.Status] {
				got[name] = c
			}
		}
	}
	return got
}

// readBaseline is the reason of each expected failure, by cell and check.
func readBaseline(t *testing.T) map[string]map[string]string {
	t.Helper()
	f, err := os.Open("../conformance/baseline.yml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	baseline := map[string]map[string]string{}
	if err := yaml.NewDecoder(f).Decode(&baseline); err != nil {
		t.Fatalf("baseline.yml: %v", err)
	}
	return baseline
}
