// Command bench measures Wicketgate beside what one would compare it with: no
// gateway at all, a plain reverse proxy, and the naive floor, which does per call
// what a gateway cannot do without (verify a JWT, ask a policy, sign a JWT) in
// the first way that comes to mind. The token endpoint is measured beside a
// handler that does nothing but sign: once more with wicketgate serve on each
// store, nearly empty and with a million grants in it. Calls with credentials of Vault are
// measured beside those with a call token. Bench soak looks for what shows after
// minutes only.
//
// Everything runs as a process of its own on loopback, in one run, in interleaved
// rounds. Ratios are computed within a round and their medians reported, because
// the machine is seldom quiet. It needs Linux (/proc) and the go command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the whole program, or one of the helper servers that it starts.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && helpers[args[0]] != nil {
		return serveHelper(ctx, args[0], args[1:], stdout)
	}
	if len(args) > 0 && args[0] == "soak" {
		return runSoak(ctx, args[1:], stdout, stderr)
	}
	cfg, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.bound(), errors.New("the run took far longer than its rounds should: gave up"))
	defer cancel()
	return runAll(ctx, cfg, stdout, stderr)
}

// config is the flags.
type config struct {
	rounds     int
	time       time.Duration // of one measurement
	out        string        // folder for results.json and the plots
	wicketgate string        // a binary to measure; empty: build it
	grants     int           // in the full stores

	storesOnly, credentialsOnly bool
}

// connections is how many the throughput is measured with.
const connections = 16

// maxTime keeps a round of the first part, fifteen measurements, shorter than an
// access token lives.
const maxTime = 15 * time.Second

func parseFlags(args []string, stderr io.Writer) (config, error) {
	var cfg config
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&cfg.rounds, "rounds", 5, "interleaved `rounds`; medians are over them")
	f.DurationVar(&cfg.time, "time", 2*time.Second, "`duration` of one measurement, of the stores half; CPU is counted in ticks of 10 ms, so keep it well above 100ms")
	quick := f.Bool("quick", false, "two rounds of one second, and a tenth of the grants: is it broken, not how fast is it")
	f.BoolVar(&cfg.storesOnly, "stores", false, "only the stores, nearly empty and full")
	f.BoolVar(&cfg.credentialsOnly, "credentials", false, "only calls with credentials of Vault, beside those without")
	f.IntVar(&cfg.grants, "grants", 1_000_000, "`grants` in the full stores; the nearly empty ones have 100")
	f.StringVar(&cfg.out, "out", filepath.Join("bench", "out"), "`folder` for results.json and the plots")
	f.StringVar(&cfg.wicketgate, "wicketgate", "", "measure this `binary` instead of building one")
	if err := f.Parse(args); err != nil {
		return cfg, err
	}
	if *quick {
		set := map[string]bool{}
		f.Visit(func(f *flag.Flag) { set[f.Name] = true })
		if !set["rounds"] {
			cfg.rounds = 2
		}
		if !set["time"] {
			cfg.time = time.Second
		}
		if !set["grants"] {
			cfg.grants /= 10
		}
	}
	switch {
	case f.NArg() > 0:
		return cfg, fmt.Errorf("%q is not understood: see go run ./bench -help", f.Arg(0))
	case cfg.rounds < 1:
		return cfg, errors.New("-rounds: want at least 1")
	case cfg.grants <= few:
		return cfg, fmt.Errorf("-grants: want more than %d, to compare with", few)
	case cfg.time < 10*time.Millisecond || cfg.time > maxTime:
		return cfg, fmt.Errorf("-time: want 10ms to %s: an access token lives five minutes and is to last a round", maxTime)
	}
	return cfg, nil
}

// bound is when a run has certainly gone wrong.
func (c config) bound() time.Duration {
	measurements := time.Duration(c.rounds * (15 + 14 + 2*len(legacyNames)))
	return 10*time.Minute + 2*measurements*(c.time+c.warm()+2*time.Second)
}

// warm is how long each measurement runs before it counts.
func (c config) warm() time.Duration { return max(c.time/5, 20*time.Millisecond) }

func runAll(ctx context.Context, cfg config, stdout, stderr io.Writer) (err error) {
	if _, err := cpuOf(os.Getpid()); err != nil {
		return fmt.Errorf("the bench reads CPU and memory from /proc and needs Linux: %w", err)
	}
	dir, err := os.MkdirTemp("", "wicketgate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := describe(ctx, cfg)
	m.print(stdout)
	if cfg.wicketgate == "" {
		fmt.Fprintln(stderr, "building wicketgate …")
		if cfg.wicketgate, err = build(ctx, dir); err != nil {
			return err
		}
	}
	res := &results{Machine: m}
	if err := measureParts(ctx, cfg, dir, res, stderr); err != nil {
		return err
	}
	if err := res.write(stdout, cfg.out); err != nil {
		return err
	}
	if n := len(res.Errors); n > 0 {
		return fmt.Errorf("%d kinds of wrong answers: the numbers above count only the right ones, see below\n  %s", n, res.errorText())
	}
	return nil
}

// measureParts measures all parts, or those that were asked for.
func measureParts(ctx context.Context, cfg config, dir string, res *results, progress io.Writer) error {
	all := !cfg.storesOnly && !cfg.credentialsOnly
	if all {
		if err := measureGateway(ctx, cfg, dir, res, progress); err != nil {
			return err
		}
	}
	if all || cfg.storesOnly {
		if err := measureStores(ctx, cfg, dir, res, progress); err != nil {
			return fmt.Errorf("stores: %w", err)
		}
	}
	if all || cfg.credentialsOnly {
		if err := measureCredentials(ctx, cfg, dir, res, progress); err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
	}
	return nil
}

// measureGateway is the first part: calls, and the token endpoint beside them.
func measureGateway(ctx context.Context, cfg config, dir string, res *results, progress io.Writer) error {
	r, err := startRig(ctx, cfg.wicketgate, dir, progress)
	if err != nil {
		return err
	}
	defer r.stop()
	if err := r.measure(ctx, cfg, res); err != nil {
		return err
	}
	res.finish(r)
	return nil
}
