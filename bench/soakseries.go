package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// vital is what a leak would show in.
type vital struct {
	at         time.Duration // since the load began
	rss        float64       // MiB
	goroutines int
	files      int
}

func (v vital) String() string {
	return fmt.Sprintf("%8s %8.1f MiB %6d goroutines %5d files", v.at.Round(time.Second), v.rss, v.goroutines, v.files)
}

// vitals reads them: memory and files of the process, goroutines from its admin listener.
func vitals(ctx context.Context, pid int, admin string, at time.Duration) (v vital, err error) {
	v.at = at
	if v.rss, err = memoryOf(pid, "VmRSS"); err != nil {
		return v, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return v, err
	}
	v.files = len(files)
	v.goroutines, err = goroutinesOf(ctx, admin)
	return v, err
}

func goroutinesOf(ctx context.Context, admin string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Close = true // or the connection that asks would be counted
	resp, err := preparing.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return readGoroutines(resp.Body)
}

func readGoroutines(metrics io.Reader) (int, error) {
	s := bufio.NewScanner(metrics)
	for s.Scan() {
		if n, ok := strings.CutPrefix(s.Text(), "go_goroutines "); ok {
			return strconv.Atoi(n)
		}
	}
	return 0, fmt.Errorf("the metrics have no go_goroutines: %w", s.Err())
}

// What may be left when everybody has gone: connections to the store and to upstreams that
// are kept on purpose. A leak per call, stream or restart is far more in ten minutes.
const (
	spareGoroutines = 16
	spareFiles      = 16
)

// leaked says what has not come back; nothing: "".
func leaked(before, after vital) string {
	var what []string
	if after.goroutines > before.goroutines+spareGoroutines {
		what = append(what, fmt.Sprintf("%d goroutines, %d before the load", after.goroutines, before.goroutines))
	}
	if after.files > before.files+spareFiles {
		what = append(what, fmt.Sprintf("%d open files, %d before the load", after.files, before.files))
	}
	return strings.Join(what, "; ")
}

// Memory is flat if the last quarter of the series needs no more than the second, in which
// every cache that has a bound has filled, but for what garbage collection leaves to chance.
const (
	growthFactor = 1.10
	growthMiB    = 8
)

// grown says by how much memory has grown; flat: "".
func grown(series []vital) string {
	if len(series) < 8 {
		return "" // too short to tell
	}
	quarter := len(series) / 4
	early, late := medianRSS(series[quarter:2*quarter]), medianRSS(series[len(series)-quarter:])
	if late <= early*growthFactor+growthMiB {
		return ""
	}
	return fmt.Sprintf("%.1f MiB in the last quarter, %.1f in the second", late, early)
}

func medianRSS(series []vital) float64 {
	var all []float64
	for _, v := range series {
		all = append(all, v.rss)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
