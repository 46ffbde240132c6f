package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/sqlite"
)

// The servers whose calls are measured: one and the same, called with a call token or with
// credentials of Vault, and a command.
const (
	legacyToken      = "call token"
	legacyCall       = "database, per call"
	legacySession    = "database, per session"
	legacySubject    = "database, per subject"
	legacyKV         = "KV, per call"
	legacyCommand    = "command, a process per session"
	legacyCommandPer = "command, a process per call, KV"
)

var legacyNames = []string{legacyToken, legacyCall, legacySession, legacySubject, legacyKV, legacyCommand, legacyCommandPer}

// legacyServer is a server as wicketgate.yaml and Vault have it.
type legacyServer struct {
	name        string
	role        string // of Vault's JWT auth, whose copy it gets; empty: no credential
	kept        bool   // beyond the session, so that it is not waited for
	connections int
	yaml        string
}

// commandConnections is as many processes as one subject may have of a command.
const commandConnections = 8

const (
	databaseYAML = `engine: database, path: "database/creds/reports-{{.subject}}", inject: {header: [{name: X-Db-User, value: "{{.username}}"}, {name: X-Db-Password, value: "{{.password}}"}]}`
	kvYAML       = `engine: kv, path: "secret/data/notes/{{.subject}}"`
)

// legacyServers are the servers by what they are called with; upstream is that of all.
func legacyServers(upstream string) map[string]legacyServer {
	url := fmt.Sprintf("url: %q", upstream+"/mcp")
	command := fmt.Sprintf("command: [sh, -c, %q, sh, %q, %q]", commandScript, echoTool, callResult)
	vault := func(s string) string { return ", credential: vault, vault: {" + s + "}" }
	return map[string]legacyServer{
		legacyToken:   {"token", "", false, connections, url},
		legacyCall:    {"call", "reports", false, connections, url + vault(databaseYAML+", role: call")},
		legacySession: {"session", "reports", false, connections, url + vault(databaseYAML+", role: session, per: session")},
		legacySubject: {"subject", "reports", true, connections, url + vault(databaseYAML+", role: subject, per: subject")},
		legacyKV:      {"kv", "notes", false, connections, url + vault(kvYAML+`, role: kv, inject: {header: [{name: X-Key, value: "{{.key}}"}]}`)},

		legacyCommand:    {"command", "", false, commandConnections, command},
		legacyCommandPer: {"command-call", "notes", false, commandConnections, command + vault(kvYAML+`, role: command-call, inject: {env: [{name: KEY, value: "{{.key}}"}]}`)},
	}
}

// credentialRig is everything that runs while we measure credentials.
type credentialRig struct {
	cfg       config
	progress  io.Writer
	processes []*process
	meter     meter
	dir       string
	servers   map[string]legacyServer
	vault     *vaultServer
	database  *process
	house     *legacyHouse
	store     *sqlite.Store
}

// measureCredentials is the third part: calls with credentials of Vault.
func measureCredentials(ctx context.Context, cfg config, dir string, res *results, progress io.Writer) (err error) {
	root, err := repository(ctx)
	if err != nil {
		return err
	}
	program, err := vaultProgram(ctx, root)
	if err != nil {
		return err
	}
	binaries := postgresBinaries()
	switch {
	case program == "":
		fmt.Fprintln(progress, "Vault is not built, and credentials are not measured: run make bench, which builds it")
		return nil
	case binaries == "":
		fmt.Fprintln(progress, "PostgreSQL is not installed, and credentials are not measured: run tools/postgres.sh")
		return nil
	}
	r := &credentialRig{cfg: cfg, dir: filepath.Join(dir, "credentials"), progress: progress, meter: startMeter()}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.start(ctx, root, program, binaries); err != nil {
		return err
	}
	c := &credentialResults{}
	if c.Fsync, err = fsyncTime(r.dir); err != nil {
		return err
	}
	res.Credentials = c
	for i := range cfg.rounds {
		fmt.Fprintf(progress, "credentials, round %d of %d …\n", i+1, cfg.rounds)
		rd, err := r.round(ctx, i)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		c.Rounds = append(c.Rounds, rd)
		res.noteCredentials(rd)
	}
	c.Others = r.meter.others(r.processes)
	c.finish()
	return nil
}

// start starts everything: Wicketgate before Vault is told whom to believe, which is whoever
// has the keys that it serves.
func (r *credentialRig) start(ctx context.Context, root, program, binaries string) error {
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	null, err := r.keep(start(ctx, nameDirect, self, "null"))
	if err != nil {
		return err
	}
	if r.database, err = r.keep(startPostgres(ctx, binaries)); err != nil {
		return err
	}
	if err := (postgresServer{r.database, binaries}).sql(ctx, "postgres", "CREATE ROLE readers NOLOGIN"); err != nil {
		return err
	}
	if r.vault, err = startVault(ctx, root, program, r.dir); err != nil {
		return err
	}
	r.processes = append(r.processes, r.vault.process)
	r.servers = legacyServers(null.url)
	if r.house, err = startLegacyHouse(ctx, r.cfg.wicketgate, r.dir, r.vault.url, r.servers); err != nil {
		return err
	}
	r.processes = append(r.processes, r.house.process)
	if r.store, err = sqlite.OpenAsIs(ctx, r.house.database); err != nil {
		return err
	}
	return r.setUp(ctx)
}

// setUp does in Vault what deploy/vault says, with a role for each server.
func (r *credentialRig) setUp(ctx context.Context) error {
	database := "postgres://{{username}}:{{password}}@/postgres?host=" + url.QueryEscape(r.database.url)
	for _, step := range [][]string{{"jwt", r.house.url, r.vault.url}, {"database", "reports", database}, {"person", "reports", workload, "readers"},
		{"server", "reports", "jwt"}, {"server", "notes", "jwt"}} {
		if err := r.vault.setUp(ctx, step...); err != nil {
			return err
		}
	}
	for _, s := range r.servers {
		if s.role == "" {
			continue
		}
		if err := r.vault.copyRole(ctx, s.role, s.name); err != nil {
			return err
		}
	}
	return r.vault.write(ctx, "secret/data/notes/"+workload, map[string]any{"data": map[string]string{"key": "a-key-of-a-common-length"}})
}

// keep keeps a process that has been started.
func (r *credentialRig) keep(p *process, err error) (*process, error) {
	if err == nil {
		r.processes = append(r.processes, p)
	}
	return p, err
}

// stop stops everything, what was started last first: Wicketgate ends what it has while
// Vault and the database are still there.
func (r *credentialRig) stop() error {
	var err error
	if r.store != nil {
		err = r.store.Close()
	}
	for _, p := range slices.Backward(r.processes) {
		p.stop()
	}
	return err
}

// credentialRound is one round's samples by what the server is called with.
type credentialRound struct {
	One  map[string]credentialSample `json:"one_connection"`
	Many map[string]credentialSample `json:"many_connections"`
}

// credentialSample is a sample with what others did for it, until all of it had ended. CPU
// is per call, in microseconds, that of the endings included.
type credentialSample struct {
	sample
	Commands float64              `json:"commands_cpu_us_per_call"`
	Vault    float64              `json:"vault_cpu_us_per_call"`
	Requests float64              `json:"vault_requests_per_call"`
	Left     int                  `json:"left_to_end"` // leases, at the end of the load
	EndedIn  float64              `json:"ended_in_ms"` // all of them
	Steps    map[string]stepTimes `json:"vault_steps"` // by step
}

// stepTimes is how long Vault itself took for requests of one kind.
type stepTimes struct {
	Requests int     `json:"requests"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
}

// round measures each server at one connection and at many, beginning with another one
// each time.
func (r *credentialRig) round(ctx context.Context, i int) (credentialRound, error) {
	rd := credentialRound{map[string]credentialSample{}, map[string]credentialSample{}}
	for _, many := range []bool{false, true} {
		for _, name := range rotate(legacyNames, i) {
			into, n := rd.One, 1
			if many {
				into, n = rd.Many, r.servers[name].connections
			}
			var err error
			if into[name], err = r.sample(ctx, name, n); err != nil {
				return rd, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return rd, nil
}

// usage is what was used until now.
type usage struct {
	gateway, commands, vault, database time.Duration
	log                                int64 // bytes of Vault's audit file
}

func (r *credentialRig) usage() (u usage, err error) {
	var errs [5]error
	u.gateway, errs[0] = r.house.cpu()
	u.commands, errs[1] = cpuOfFamily(r.house.pid())
	u.commands -= u.gateway
	u.vault, errs[2] = r.vault.cpu()
	u.database, errs[3] = r.database.cpu()
	u.log, errs[4] = r.vault.written()
	return u, errors.Join(errs[:]...)
}

// sample measures a server in sessions of their own, which end with it, and waits until
// nothing is left of it.
func (r *credentialRig) sample(ctx context.Context, name string, connections int) (out credentialSample, err error) {
	s := r.servers[name]
	sessions, err := r.house.openSessions(ctx, s, connections)
	if err != nil {
		return out, err
	}
	l, err := sessions.load(r.house.process, r.cfg)
	if err != nil {
		return out, err
	}
	before, err := r.usage()
	if err != nil {
		return out, err
	}
	if out.sample, err = l.announced(ctx, name, r.progress); err != nil {
		return out, err
	}
	began := time.Now()
	if out.Left, err = r.left(ctx, s); err == nil {
		err = errors.Join(sessions.end(ctx), r.ended(ctx, s))
	}
	if err != nil {
		return out, err
	}
	out.EndedIn = milliseconds(time.Since(began))
	after, err := r.usage()
	if err != nil {
		return out, err
	}
	return out, out.count(r.vault, before, after)
}

// count sets what was used for the calls.
func (out *credentialSample) count(v *vaultServer, before, after usage) error {
	per := func(before, after time.Duration) float64 {
		return ratio(float64((after - before).Microseconds()), float64(out.sent))
	}
	out.CPU, out.Commands = per(before.gateway, after.gateway), per(before.commands, after.commands)
	out.Vault, out.Database = per(before.vault, after.vault), per(before.database, after.database)
	took, err := v.audited(before.log)
	out.Steps = map[string]stepTimes{}
	for step, times := range took {
		slices.Sort(times)
		out.Steps[step] = stepTimes{len(times), percentile(times, 50), percentile(times, 99)}
		out.Requests += ratio(float64(len(times)), float64(out.sent))
	}
	return err
}

// left is how many leases of the server are recorded, which is until they have ended.
func (r *credentialRig) left(ctx context.Context, s legacyServer) (n int, err error) {
	all, err := r.store.Leases(ctx)
	for _, l := range all {
		if l.Server == s.name {
			n++
		}
	}
	return n, err
}

// endWithin is far longer than what is left can take to end: Vault is there.
const endWithin = 2 * time.Minute

// ended waits until nothing of a server's calls is left.
func (r *credentialRig) ended(ctx context.Context, s legacyServer) error {
	if s.kept {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, endWithin, fmt.Errorf("leases were not ended within %v: %s", endWithin, r.house.lastWords()))
	defer cancel()
	for tick := time.Tick(5 * time.Millisecond); ; {
		n, err := r.left(ctx, s)
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
