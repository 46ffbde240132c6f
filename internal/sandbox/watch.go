package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// watchPeriod is how often the use of memory and tasks is looked at.
const watchPeriod = 500 * time.Millisecond

// Watch looks at what the process and those that it started use together, until ctx is
// done. It calls exceeded, with the reason, when that is too much.
func (s *Sandbox) Watch(ctx context.Context, pid int, exceeded func(why string)) {
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if why := s.excess(usage(pid)); why != "" {
				exceeded(why)
				return
			}
		}
	}
}

func (s *Sandbox) excess(u use) string {
	switch {
	case s.spec.Memory > 0 && u.memory > s.spec.Memory:
		return fmt.Sprintf("memory: %d MiB, of %d", u.memory>>20, s.spec.Memory>>20)
	case s.spec.Tasks > 0 && u.tasks > s.spec.Tasks:
		return fmt.Sprintf("tasks: %d, of %d", u.tasks, s.spec.Tasks)
	}
	return ""
}

// use is what some processes use.
type use struct {
	memory int64 // bytes that are resident
	tasks  int
}

// stat is of one process.
type stat struct {
	parent int
	use
}

// usage is that of the process and all below it.
func usage(root int) use {
	stats, children := map[int]stat{}, map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return use{}
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if st, ok := readStat(pid); ok {
			stats[pid] = st
			children[st.parent] = append(children[st.parent], pid)
		}
	}
	var sum use
	for todo := []int{root}; len(todo) > 0; todo = todo[1:] {
		sum.memory += stats[todo[0]].memory
		sum.tasks += stats[todo[0]].tasks
		todo = append(todo, children[todo[0]]...)
	}
	return sum
}

// readStat reads /proc/PID/stat (proc_pid_stat(5)). The name of the program comes
// second, in parentheses, and may have anything in it.
func readStat(pid int) (stat, bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	f := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(f) < 22 {
		return stat{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(string(f[i])); return n }
	return stat{number(1), use{memory: int64(number(21)) * int64(os.Getpagesize()), tasks: number(17)}}, true
}
