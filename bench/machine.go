package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine is where and when it ran: numbers of different machines do not compare.
type machine struct {
	Began   time.Time `json:"began"`
	Commit  string    `json:"commit"` // with a + when files have changed since
	Cores   int       `json:"cores"`
	CPU     string    `json:"cpu"`
	Go      string    `json:"go"`
	Load    string    `json:"load_average"`
	Rounds  int       `json:"rounds"`
	Seconds float64   `json:"seconds_per_measurement"`
}

func describe(ctx context.Context, cfg config) machine {
	m := machine{Began: time.Now(), Commit: commit(ctx), Cores: runtime.NumCPU(), CPU: cpuModel(), Go: runtime.Version(), Load: "unknown",
		Rounds: cfg.rounds, Seconds: cfg.time.Seconds()}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(b)); len(f) >= 3 {
			m.Load = strings.Join(f[:3], " ")
		}
	}
	return m
}

func (m machine) print(w io.Writer) {
	fmt.Fprintf(w, `Wicketgate bench, commit %s, %s
%d cores (%s), %s, load average %s
The machine is shared, with the load generator too: trust ratios within this run, and numbers of no other run.
Rounds: %d, with %gs a measurement (of the stores: half), closed loop, over loopback, to an upstream that answers a constant.
`, m.Commit, m.Began.UTC().Format(time.RFC3339), m.Cores, m.CPU, m.Go, m.Load, m.Rounds, m.Seconds)
}

func commit(ctx context.Context) string {
	head, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no").Output()
	if err == nil && len(changed) > 0 {
		return strings.TrimSpace(string(head)) + "+"
	}
	return strings.TrimSpace(string(head))
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(b)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

// meter tells what else the machine does meanwhile.
type meter struct {
	began     time.Time
	busy, own time.Duration // CPU time until then
}

func startMeter() meter {
	m := meter{began: time.Now(), busy: busy()}
	m.own, _ = cpuOf(os.Getpid())
	return m
}

// others is how many cores programs that are not ours kept busy on average since:
// ours were started since.
func (m meter) others(ours []*process) float64 {
	used := busy() - m.busy
	own, _ := cpuOf(os.Getpid())
	used -= own - m.own
	for _, p := range ours {
		cpu, _ := p.cpu()
		used -= cpu
	}
	return max(0, used.Seconds()/time.Since(m.began).Seconds())
}
