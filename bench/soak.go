package main

import (
	"context"
	"crypto/sha256"
	stdjson "encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Names of the soak's servers, of which the fragile ones are one process that is killed.
var soakServers = []string{"steady-stateless", "steady-sessions", "fragile-stateless", "fragile-sessions"}

func fragile(server string) bool { return strings.HasPrefix(server, "fragile-") }

const (
	soakIdentities = 8
	soakSecret     = "secret-of-the-soak-and-of-client-"
	downFor        = time.Second // between the end of the fragile upstream and its start
	settleWithin   = 150 * time.Second
)

// soakConfig is the flags.
type soakConfig struct {
	time, restart, sample time.Duration
	connections, rate     int
	wicketgate            string
}

func parseSoakFlags(args []string, stderr io.Writer) (cfg soakConfig, err error) {
	f := flag.NewFlagSet("bench soak", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.DurationVar(&cfg.time, "time", 10*time.Minute, "`duration` of the load")
	f.DurationVar(&cfg.restart, "restart", 20*time.Second, "`period` in which an upstream is killed and started again")
	f.DurationVar(&cfg.sample, "sample", 10*time.Second, "`period` of the series of memory, goroutines and files")
	f.IntVar(&cfg.connections, "connections", 64, "clients at once")
	f.IntVar(&cfg.rate, "rate", 320, "operations per second, of all clients: each writes about a kilobyte to the audit log")
	f.StringVar(&cfg.wicketgate, "wicketgate", "", "soak this `binary` instead of building one")
	if err := f.Parse(args); err != nil {
		return cfg, err
	}
	switch {
	case f.NArg() > 0:
		return cfg, fmt.Errorf("%q is not understood: see go run ./bench soak -help", f.Arg(0))
	case cfg.connections < 1 || cfg.rate < 1:
		return cfg, errors.New("-connections and -rate: want at least 1")
	case cfg.time <= 0 || cfg.sample <= 0 || cfg.restart <= 2*downFor:
		return cfg, fmt.Errorf("-time and -sample: want more than nothing; -restart: more than %s", 2*downFor)
	}
	return cfg, nil
}

// soak is the gateway under load, and what came of it.
type soak struct {
	cfg     soakConfig
	issuer  string
	admin   string
	gateway *process

	right, rightFragile, down, wrong atomic.Int64

	mu         sync.Mutex // guards what follows
	fragile    *process
	complaints []string
}

// runSoak is bench soak: it looks for what shows after minutes only.
func runSoak(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	cfg, err := parseSoakFlags(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wicketgate-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if cfg.wicketgate == "" {
		fmt.Fprintln(stderr, "building wicketgate …")
		if cfg.wicketgate, err = build(ctx, dir); err != nil {
			return err
		}
	}
	s := &soak{cfg: cfg}
	stop, err := s.start(ctx, dir)
	defer stop()
	if err != nil {
		return err
	}
	return s.judge(ctx, stdout)
}

// start starts both upstreams and the gateway before them. Stop is good for what has been
// started also where that is not all.
func (s *soak) start(ctx context.Context, dir string) (stop func(), err error) {
	var started []*process
	stop = func() {
		if f := s.fragileNow(); f != nil {
			f.stop()
		}
		for _, p := range started {
			p.stop()
		}
	}
	self, err := os.Executable()
	if err != nil {
		return stop, err
	}
	steady, err := start(ctx, "steady upstream", self, helperSoak)
	if err != nil {
		return stop, err
	}
	started = append(started, steady)
	address, err := freeAddress()
	if err != nil {
		return stop, err
	}
	if s.fragile, err = start(ctx, "fragile upstream", self, helperSoak, "", address); err != nil {
		return stop, err
	}
	config, err := s.configure(dir, map[string]string{"steady": steady.url, "fragile": s.fragile.url})
	if err != nil {
		return stop, err
	}
	if s.gateway, err = start(ctx, "wicketgate", s.cfg.wicketgate, "serve", "--config", config); err != nil {
		return stop, err
	}
	started = append(started, s.gateway)
	return stop, nil
}

// configure writes the configuration of the gateway and returns its path.
func (s *soak) configure(dir string, upstreams map[string]string) (string, error) {
	listen, err := freeAddress()
	if err == nil {
		s.admin, err = freeAddress()
	}
	if err != nil {
		return "", err
	}
	s.issuer = "http://" + listen
	var servers, granted, clients, names []string
	for _, server := range soakServers {
		which, mode, _ := strings.Cut(server, "-")
		servers = append(servers, fmt.Sprintf("  - {name: %s, url: %q}\n", server, upstreams[which]+"/"+mode))
		granted = append(granted, fmt.Sprintf("      %s: {tools: [%s, %s, %s]}\n", server, toolEcho, toolStream, toolHang))
	}
	for i := range soakIdentities {
		names = append(names, fmt.Sprint("soaker-", i))
		clients = append(clients, fmt.Sprintf("  - {id: %s, secret_sha256: %x, grant_types: [client_credentials]}\n", names[i], sha256.Sum256([]byte(soakSecret+names[i]))))
	}
	config := filepath.Join(dir, "wicketgate.yaml")
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "access.yaml"), []byte("version: 1\nroles:\n  soak:\n    who: {clients: ["+strings.Join(names, ", ")+"]}\n    servers:\n"+strings.Join(granted, "")), 0o600),
		os.WriteFile(config, []byte("issuer: "+s.issuer+"\nlisten: "+listen+"\nadmin: {listen: \""+s.admin+"\"}\ndata: data\npolicy: access.yaml\ntrust: first-use\nservers:\n"+
			strings.Join(servers, "")+"clients:\n"+strings.Join(clients, "")), 0o600))
	return config, err
}

// judge runs the load, waits until everything has come back, and says what has not.
func (s *soak) judge(ctx context.Context, stdout io.Writer) error {
	before, err := vitals(ctx, s.gateway.pid(), s.admin, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "before  %s\n", before)
	series, err := s.load(ctx, stdout)
	if err != nil {
		return err
	}
	after, err := s.settle(ctx, before)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "after   %s\n", after)
	fmt.Fprintf(stdout, "%d right answers, %d of a server that was down or had been, %d wrong\n", s.right.Load(), s.down.Load(), s.wrong.Load())
	var bad []error
	if n := s.wrong.Load(); n > 0 {
		bad = append(bad, fmt.Errorf("%d wrong answers, among them:\n  %s", n, strings.Join(s.complaints, "\n  ")))
	}
	if what := leaked(before, after); what != "" {
		bad = append(bad, fmt.Errorf("leaked: %s", what))
	}
	if what := grown(series); what != "" {
		bad = append(bad, fmt.Errorf("memory has grown: %s", what))
	}
	if len(bad) > 0 {
		return errors.Join(bad...)
	}
	fmt.Fprintln(stdout, "passed: no wrong answer, nothing leaked, memory flat")
	return nil
}

// load runs the clients, ends and starts the fragile upstream, and takes the series.
func (s *soak) load(ctx context.Context, stdout io.Writer) ([]vital, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.time)
	defer cancel()
	var clients sync.WaitGroup
	defer clients.Wait()
	every := time.Second * time.Duration(s.cfg.connections) / time.Duration(s.cfg.rate)
	for i := range s.cfg.connections {
		c := &soaker{soak: s, number: i, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}, tokens: map[string]soakToken{}, sessions: map[string]*soakSession{}}
		clients.Go(func() { c.run(ctx, every) })
	}
	clients.Go(func() { s.restart(ctx) })
	began, tick := time.Now(), time.NewTicker(s.cfg.sample)
	defer tick.Stop()
	var series []vital
	for {
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return series, err
			}
			return series, nil
		case <-s.gateway.exited:
			cancel()
			return series, fmt.Errorf("wicketgate has ended%s", s.gateway.lastWords())
		case <-tick.C:
		}
		v, err := vitals(context.WithoutCancel(ctx), s.gateway.pid(), s.admin, time.Since(began))
		if err != nil {
			cancel()
			return series, err
		}
		series = append(series, v)
		fmt.Fprintf(stdout, "%s %9d right %6d down %4d wrong\n", v, s.right.Load(), s.down.Load(), s.wrong.Load())
	}
}

// restart kills the fragile upstream again and again. Between two times the gateway must
// have found it.
func (s *soak) restart(ctx context.Context) {
	self, address := s.fragile.cmd.Path, strings.TrimPrefix(s.fragile.url, "http://")
	for pause(ctx, s.cfg.restart-downFor) == nil {
		if s.rightFragile.Swap(0) == 0 {
			s.complain("since its last start, the fragile server has answered nothing")
		}
		old := s.fragileNow()
		_ = old.cmd.Process.Kill()
		<-old.exited
		_ = pause(ctx, downFor)
		p, err := start(context.WithoutCancel(ctx), "fragile upstream", self, helperSoak, "", address)
		if err != nil {
			s.complain(err.Error())
			return
		}
		s.mu.Lock()
		s.fragile = p
		s.mu.Unlock()
		s.rightFragile.Store(0)
	}
}

func (s *soak) fragileNow() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fragile
}

// maxComplaints is how many wrong answers are shown.
const maxComplaints = 20

func (s *soak) complain(what string) {
	s.wrong.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.complaints) < maxComplaints {
		s.complaints = append(s.complaints, what)
	}
}

// settle waits until what the load needed has come back, or will not: a connection to an
// upstream is kept for a minute and a half.
func (s *soak) settle(ctx context.Context, before vital) (vital, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for began := time.Now(); ; {
		v, err := vitals(context.WithoutCancel(ctx), s.gateway.pid(), s.admin, time.Since(began))
		if err != nil || leaked(before, v) == "" || pause(ctx, time.Second) != nil {
			return v, err
		}
	}
}

// soakToken is an access token, and when to get another.
type soakToken struct {
	text  string
	until time.Time
}

func (s *soaker) token(ctx context.Context, server string) (string, error) {
	if t := s.tokens[server]; time.Now().Before(t.until) {
		return t.text, nil
	}
	name := fmt.Sprint("soaker-", s.number%soakIdentities)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {name}, "client_secret": {soakSecret + name}, "resource": {s.issuer + "/mcp/" + server}}
	answer, _, err := send(context.WithoutCancel(ctx), s.issuer+"/oauth2/token", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form.Encode(), http.StatusOK)
	if err != nil {
		return "", err
	}
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := stdjson.Unmarshal(answer, &t); err != nil {
		return "", err
	}
	s.tokens[server] = soakToken{t.AccessToken, time.Now().Add(time.Duration(t.ExpiresIn) * time.Second / 2)}
	return t.AccessToken, nil
}
