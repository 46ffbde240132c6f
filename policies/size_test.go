package policies_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// sized is a policy of so many roles, each of which grants so many tools. With conditions
// each role has hours, and one tool in ten an argument that no other role asks for alike.
func sized(roles, tools int, conditions bool) string {
	var b strings.Builder
	b.WriteString("version: 1\nhours: {office: {from: \"00:00\", to: \"24:00\", zone: Asia/Seoul}}\nroles:\n")
	for r := range roles {
		fmt.Fprintf(&b, "  role%d:\n    who: {groups: [group%d]}\n", r, r)
		if conditions {
			b.WriteString("    hours: office\n")
		}
		b.WriteString("    servers:\n      ops:\n        tools:\n")
		for i := range tools {
			if conditions && i%10 == 0 {
				fmt.Fprintf(&b, "          tool%d: {arguments: {limit: {max: %d}}}\n", i, 100+r)
			} else {
				fmt.Fprintf(&b, "          tool%d:\n", i)
			}
		}
	}
	return b.String()
}

// sizedCall is by somebody in one role of the middle, for a tool that has a condition in a
// policy with conditions.
func sizedCall(t testing.TB, roles, tools int) policies.Request {
	q := call(t, "alice", "editor", "ops", fmt.Sprintf("tool%d", tools/20*10))
	q.Groups = []string{fmt.Sprintf("group%d", roles/2), "everybody", "vpn"}
	q.Arguments = jsontext.Value(`{"limit": 50, "query": "select 1"}`)
	return q
}

// BenchmarkSize decides, without the cache, by a policy of 20 roles with 50 tools each and
// by one of 200 with 2,000 each, in turns, so that whatever else the machine does hits
// both. It prints the median of each and their ratio.
func BenchmarkSize(b *testing.B) {
	for _, conditions := range []bool{false, true} {
		b.Run(fmt.Sprintf("conditions=%v", conditions), func(b *testing.B) {
			small, large := newPDP(b, sized(20, 50, conditions)), newPDP(b, sized(200, 2000, conditions))
			ask, askLarge := sizedCall(b, 20, 50), sizedCall(b, 200, 2000)
			var times, timesLarge []time.Duration
			for b.Loop() {
				times = append(times, timed(b, small, ask))
				timesLarge = append(timesLarge, timed(b, large, askLarge))
			}
			one, other := median(times)/turn, median(timesLarge)/turn
			b.ReportMetric(0, "ns/op") // of both together, which says nothing
			b.ReportMetric(one, "µs/20x50")
			b.ReportMetric(other, "µs/200x2000")
			b.ReportMetric(other/one, "ratio")
		})
	}
}

// median is in microseconds.
func median(times []time.Duration) float64 {
	slices.Sort(times)
	return float64(times[len(times)/2]) / float64(time.Microsecond)
}

const turn = 20 // decisions

func timed(t testing.TB, p *policies.PDP, q policies.Request) time.Duration {
	start := time.Now()
	for range turn {
		if d := p.Evaluate(t.Context(), q); !d.Allowed() {
			t.Fatal(d)
		}
	}
	return time.Since(start)
}

// TestCostDoesNotGrowWithThePolicy counts what a decision allocates, which no other load of
// the machine changes: a policy with 40 times as many grants must not make it do more.
func TestCostDoesNotGrowWithThePolicy(t *testing.T) {
	allocations := func(roles, tools int) float64 {
		p, q := newPDP(t, sized(roles, tools, true)), sizedCall(t, roles, tools)
		return testing.AllocsPerRun(50, func() { timed(t, p, q) }) / turn
	}
	small, large := allocations(20, 50), allocations(100, 400)
	if t.Logf("%.0f, then %.0f allocations", small, large); large > small*1.1 {
		t.Errorf("a decision makes %.0f allocations by 20 × 50, and %.0f by 100 × 400", small, large)
	}
}
