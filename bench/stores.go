package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// few is how many grants a store has that is nearly empty.
const few = 100

const (
	nameSQLite   = "SQLite"
	namePostgres = "PostgreSQL"
)

// storePair is one kind of store, nearly empty and full.
type storePair struct {
	name  string
	sizes [2]int
	house [2]*house
	fill  func(ctx context.Context, grants int) (grantStore, string, error)
	store [2]grantStore
	yaml  [2]string
}

// storeRig is everything that runs while we measure the stores.
type storeRig struct {
	cfg       config
	dir       string
	progress  io.Writer
	processes []*process
	meter     meter
	null      *process
	sign      *process
	database  *process
	pairs     []*storePair
}

// measureStores is the second part: the grants that use a store, on both stores,
// nearly empty and full.
func measureStores(ctx context.Context, cfg config, dir string, res *results, progress io.Writer) (err error) {
	r := &storeRig{cfg: cfg, dir: dir, progress: progress, meter: startMeter()}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.start(ctx); err != nil {
		return err
	}
	s := &storeResults{Grants: [2]int{few, cfg.grants}, Rounds: map[string][]storeRound{}}
	if s.Fsync, err = fsyncTime(dir); err != nil {
		return err
	}
	res.Stores = s
	for i := range cfg.rounds {
		fmt.Fprintf(progress, "stores, round %d of %d …\n", i+1, cfg.rounds)
		for _, p := range rotate(r.pairs, i) {
			rd, err := r.round(ctx, p, i)
			if err != nil {
				return fmt.Errorf("round %d: %w", i+1, err)
			}
			s.Rounds[p.name] = append(s.Rounds[p.name], rd)
			res.noteStore(p, rd)
		}
	}
	s.Others = r.meter.others(r.processes)
	s.finish()
	return nil
}

func (r *storeRig) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if r.null, err = r.run(start(ctx, nameDirect, self, "null")); err != nil {
		return err
	}
	if r.sign, err = r.run(start(ctx, nameSign, self, "sign")); err != nil {
		return err
	}
	r.pairs = []*storePair{{name: nameSQLite, fill: func(ctx context.Context, grants int) (grantStore, string, error) {
		return fillSQLite(ctx, filepath.Join(r.dir, fmt.Sprintf("grants%d.db", grants)), grants)
	}}}
	if binaries := postgresBinaries(); binaries == "" {
		fmt.Fprintln(r.progress, "PostgreSQL is not installed, and not measured: run tools/postgres.sh")
	} else {
		if r.database, err = r.run(startPostgres(ctx, binaries)); err != nil {
			return err
		}
		r.pairs = append(r.pairs, &storePair{name: namePostgres, fill: func(ctx context.Context, grants int) (grantStore, string, error) {
			return postgresServer{r.database, binaries}.fill(ctx, fmt.Sprintf("grants%d", grants), grants)
		}})
	}
	if err := r.fill(ctx); err != nil {
		return err
	}
	return r.startHouses(ctx)
}

// fill fills the stores, the two kinds at the same time.
func (r *storeRig) fill(ctx context.Context) error {
	errs, took := make([]error, len(r.pairs)), make([]time.Duration, len(r.pairs))
	var wg sync.WaitGroup
	for i, p := range r.pairs {
		wg.Go(func() {
			began := time.Now()
			for j, n := range []int{few, r.cfg.grants} {
				if p.store[j], p.yaml[j], errs[i] = p.fill(ctx, n); errs[i] != nil {
					errs[i] = fmt.Errorf("fill %s: %w", p.name, errs[i])
					return
				}
				p.sizes[j] = n
			}
			took[i] = time.Since(began)
		})
	}
	fmt.Fprintf(r.progress, "filling the stores with %s grants …\n", count(r.cfg.grants))
	wg.Wait()
	for i, p := range r.pairs {
		fmt.Fprintf(r.progress, "  %s: %s\n", p.name, took[i].Round(time.Second/10))
	}
	return errors.Join(errs...)
}

func (r *storeRig) startHouses(ctx context.Context) error {
	for _, p := range r.pairs {
		for j, n := range p.sizes {
			dir := filepath.Join(r.dir, fmt.Sprint(p.name, n))
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			h, err := startHouse(ctx, p.label(j), r.cfg.wicketgate, dir, r.null.url, p.store[j], p.yaml[j])
			if err != nil {
				return err
			}
			r.processes = append(r.processes, h.process)
			if p.name == namePostgres {
				h.database = r.database
			}
			p.house[j] = h
		}
	}
	return nil
}

// label names one of the two for people.
func (p *storePair) label(j int) string { return p.name + ", " + count(p.sizes[j]) + " grants" }

// run keeps a process that has been started.
func (r *storeRig) run(p *process, err error) (*process, error) {
	if err == nil {
		r.processes = append(r.processes, p)
	}
	return p, err
}

// stop stops everything, what was started last first.
func (r *storeRig) stop() error {
	var errs []error
	for _, p := range slices.Backward(r.processes) {
		if p != r.database {
			p.stop()
		}
	}
	for _, p := range r.pairs {
		for _, s := range p.store {
			if s != nil {
				errs = append(errs, s.Close())
			}
		}
	}
	if r.database != nil { // last: it has open connections of ours
		r.database.stop()
	}
	return errors.Join(errs...)
}

// round measures bare signing and then each grant, nearly empty and full right
// after one another, and the one of them first that was second in the round before.
func (r *storeRig) round(ctx context.Context, p *storePair, i int) (storeRound, error) {
	rd := storeRound{Few: map[string]sample{}, Many: map[string]sample{}}
	l, err := p.house[0].credentialsLoad(r.cfg)
	if err != nil {
		return rd, err
	}
	l.server, l.database = r.sign, nil
	if rd.Sign, err = l.announced(ctx, nameSign, r.progress); err != nil {
		return rd, err
	}
	samples := [2]map[string]sample{rd.Few, rd.Many}
	for _, grant := range grantNames {
		for _, j := range rotate([]int{0, 1}, i) {
			h := p.house[j]
			if l, err = h.grantLoad(ctx, r.cfg, grant, samples[j][grantCredentials].Rate); err != nil {
				return rd, err
			}
			if samples[j][grant], err = l.announced(ctx, h.name+": "+grant, r.progress); err != nil {
				return rd, err
			}
		}
	}
	for _, h := range p.house {
		if err := h.clear(ctx); err != nil {
			return rd, fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return rd, nil
}

// fsyncTime is how long the disk takes to keep 4 KiB for good, in milliseconds, the
// median of some: what each transaction waits for.
func fsyncTime(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var took []float64
	for range 51 {
		began := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, milliseconds(time.Since(began)))
	}
	return spreadOf(took).Median, nil
}

// count is a number with commas, for people.
func count(n int) string {
	s := fmt.Sprint(n)
	var groups []string
	for len(s) > 3 {
		groups = append(groups, s[len(s)-3:])
		s = s[:len(s)-3]
	}
	groups = append(groups, s)
	slices.Reverse(groups)
	return strings.Join(groups, ",")
}
