package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// reloadEvery is how often the policy changes under load.
const reloadEvery = 100 * time.Millisecond

// reloads is calls beside one another: with one policy, and with one that changes.
type reloads struct {
	Without sample `json:"without"`
	With    sample `json:"with"`
	Times   int    `json:"reloads"` // as the audit log has them
}

// largeAccess is access with 200 further roles, of which one is another each time.
func largeAccess(change int) string {
	var b strings.Builder
	b.WriteString(access)
	for i := range 200 {
		fmt.Fprintf(&b, "  role-%d:\n    who: {users: [user-%d]}\n    servers:\n      other:\n        tools: [", i, i)
		for j := range 20 {
			fmt.Fprintf(&b, "tool-%d, ", j)
		}
		fmt.Fprintf(&b, "change-%d]\n", change)
	}
	return b.String()
}

// measureReloads runs the same calls twice, the second time while the policy changes.
func (r *rig) measureReloads(ctx context.Context, cfg config) (out reloads, err error) {
	if err := r.gateway.renew(ctx); err != nil {
		return out, err
	}
	calls, err := r.callLoads(cfg)
	if err != nil {
		return out, err
	}
	l := calls[nameGateway]
	if err := r.gateway.change(0); err != nil {
		return out, err
	}
	if out.Without, err = l.announced(ctx, "wicketgate, one policy", r.progress); err != nil {
		return out, err
	}
	before, err := r.gateway.reloaded()
	if err != nil {
		return out, err
	}
	changing, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { failed <- r.gateway.keepChanging(changing) }()
	out.With, err = l.announced(ctx, "wicketgate, policies that change", r.progress)
	stop()
	if changed := <-failed; err == nil {
		err = changed
	}
	if err != nil {
		return out, err
	}
	after, err := r.gateway.reloaded()
	out.Times = after - before
	return out, err
}

// keepChanging gives another policy now and then until ctx ends.
func (g *gateway) keepChanging(ctx context.Context) error {
	t := time.NewTicker(reloadEvery)
	defer t.Stop()
	for i := 1; ; i++ {
		if err := g.change(i); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// change puts another access.yaml into place, and tells the process.
func (g *gateway) change(i int) error {
	path := filepath.Join(g.data, "access.yaml")
	if err := os.WriteFile(path+".new", []byte(largeAccess(i)), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syscall.Kill(g.pid(), syscall.SIGHUP)
}

// reloaded counts the policies that took effect, in the audit log.
func (g *gateway) reloaded() (n int, err error) {
	f, err := os.Open(filepath.Join(g.data, "audit.jsonl"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if bytes.Contains(lines.Bytes(), []byte(`"action":"policy/reload"`)) {
			n++
		}
	}
	return n, lines.Err()
}

func (r *results) printReloads(t *tabwriter.Writer) {
	calls, dropped := [2]int{}, [2]int{}
	var p50, p99 [2][]float64
	times := 0
	for _, rd := range r.Rounds {
		for i, s := range []sample{rd.Reloads.Without, rd.Reloads.With} {
			calls[i], dropped[i] = calls[i]+s.Calls, dropped[i]+s.WrongCount
			p50[i], p99[i] = append(p50[i], s.P50), append(p99[i], s.P99)
		}
		times += rd.Reloads.Times
	}
	fmt.Fprintf(t, "policy, at 16\tcalls\tdropped\tp50, ms\tp99, ms\n")
	for i, name := range []string{"without reloads", fmt.Sprintf("with %d reloads", times)} {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\n", name, calls[i], dropped[i], spreadOf(p50[i]).text("%.2f"), spreadOf(p99[i]).text("%.2f"))
	}
}
