package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// rig is everything that runs while we measure.
type rig struct {
	progress  io.Writer
	processes []*process // in the order in which they were started
	meter     meter

	direct, plain, floor, sign *process
	floorToken                 string
	gateway                    *gateway
}

// startRig starts all servers; what it started is stopped if one of them fails.
func startRig(ctx context.Context, binary, dir string, progress io.Writer) (r *rig, err error) {
	r = &rig{progress: progress, meter: startMeter()}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := r.startHelpers(ctx, self); err != nil {
		return nil, err
	}
	if r.gateway, err = newGateway(filepath.Join(dir, "data")); err != nil {
		return nil, err
	}
	r.gateway.process, err = r.start(ctx, nameGateway, binary, "dev", "--listen", "127.0.0.1:0", "--data", r.gateway.data, "--upstream", serverName+"="+r.direct.url+"/mcp")
	return r, err
}

// build builds the product, which go run would have built alike
// but would have hidden behind a process of its own.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "wicketgate")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/wicketgate/wicketgate/cmd/wicketgate").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build wicketgate: %w\n%s", err, out)
	}
	return binary, nil
}

func (r *rig) startHelpers(ctx context.Context, self string) (err error) {
	if r.direct, err = r.start(ctx, nameDirect, self, "null"); err != nil {
		return err
	}
	if r.plain, err = r.start(ctx, namePlain, self, "plain", r.direct.url); err != nil {
		return err
	}
	if r.floor, err = r.start(ctx, nameFloor, self, "floor", r.direct.url); err != nil {
		return err
	}
	if _, err := fmt.Sscanf(r.floor.stdout.String(), "token %s", &r.floorToken); err != nil {
		return fmt.Errorf("the floor gave no token: %w", err)
	}
	r.sign, err = r.start(ctx, nameSign, self, "sign")
	return err
}

func (r *rig) start(ctx context.Context, name, command string, args ...string) (*process, error) {
	p, err := start(ctx, name, command, args...)
	if err == nil {
		r.processes = append(r.processes, p)
	}
	return p, err
}

// stop stops everything, what was started last first. It may be called again.
func (r *rig) stop() {
	for _, p := range slices.Backward(r.processes) {
		p.stop()
	}
	r.processes = nil
}

// Names of what is measured, in the table.
const (
	nameDirect  = "direct"
	namePlain   = "plain proxy"
	nameFloor   = "naive floor"
	nameGateway = "wicketgate"

	nameSign        = "bare ES256 signing"
	nameCredentials = "client_credentials"
	nameExchange    = "exchange, token seen before"
	nameFirstSight  = "exchange, token at first sight"
	nameDelegated   = "exchange for delegation, token seen before"
)

// The order of the columns and rows.
var (
	callNames  = []string{nameDirect, namePlain, nameFloor, nameGateway}
	tokenNames = []string{nameSign, nameCredentials, nameExchange, nameFirstSight, nameDelegated}
)

// round is one round's samples by name.
type round struct {
	One   map[string]sample `json:"one_connection"`
	Many  map[string]sample `json:"sixteen_connections"`
	Token map[string]sample `json:"token_endpoint"`

	Reloads reloads `json:"policy_reloads"`
}

// measure runs the rounds. Each begins with another server, so that what disturbs
// the machine now and then does not always hit the same one.
func (r *rig) measure(ctx context.Context, cfg config, res *results) error {
	for i := range cfg.rounds {
		fmt.Fprintf(r.progress, "round %d of %d …\n", i+1, cfg.rounds)
		rd, err := r.round(ctx, cfg, i)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		res.add(rd)
	}
	return nil
}

func (r *rig) round(ctx context.Context, cfg config, i int) (round, error) {
	if err := r.gateway.renew(ctx); err != nil {
		return round{}, err
	}
	calls, err := r.callLoads(cfg)
	if err != nil {
		return round{}, err
	}
	tokens, err := r.tokenLoads(ctx, cfg)
	if err != nil {
		return round{}, err
	}
	var rd round
	one := map[string]load{}
	for name, l := range calls {
		l.requests = l.requests[:1]
		one[name] = l
	}
	if rd.One, err = r.runLoads(ctx, one, rotate(callNames, i)); err != nil {
		return rd, err
	}
	if rd.Many, err = r.runLoads(ctx, calls, rotate(callNames, i)); err != nil {
		return rd, err
	}
	if rd.Token, err = r.runLoads(ctx, tokens, rotate(tokenNames, i)); err != nil {
		return rd, err
	}
	rd.Reloads, err = r.measureReloads(ctx, cfg)
	return rd, err
}

func (r *rig) runLoads(ctx context.Context, loads map[string]load, order []string) (map[string]sample, error) {
	out := map[string]sample{}
	for _, name := range order {
		s, err := loads[name].announced(ctx, name, r.progress)
		if err != nil {
			return nil, err
		}
		out[name] = s
	}
	return out, nil
}

// announced runs a load after it has said which process is under it.
func (l load) announced(ctx context.Context, name string, progress io.Writer) (sample, error) {
	fmt.Fprintf(progress, "  %s, connections: %d, process %d\n", name, len(l.requests), l.server.pid())
	return l.run(ctx)
}

func rotate[T any](names []T, by int) []T {
	by %= len(names)
	return slices.Concat(names[by:], names[:by])
}
