package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/pgtest"
)

// killedUnderLoad kills the process in the middle of calls.
func (h *legacyHouse) killedUnderLoad(l *vaultLoad, r *replica) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	var load sync.WaitGroup
	load.Go(func() { l.run(ctx, loadCalls) })
	eventually(h.t, "calls have been made", func() bool { return l.good.Load() > 40 })
	eventually(h.t, "calls are being made", func() bool { return len(h.users()) > 3 })
	if err := r.cmd.Process.Kill(); err != nil {
		h.t.Fatal(err)
	}
	<-r.exited
	cancel()
	load.Wait()
	if len(h.users()) == 0 || len(h.tokens()) == 0 {
		h.t.Fatal("nothing was left behind, which proves nothing")
	}
}

// A20: TestKilledGatewayLeavesNoLease: what the calls of a process that was killed had is
// revoked by its next start; a token that it had no time to record dies by itself.
func TestKilledGatewayLeavesNoLease(t *testing.T) {
	t.Parallel()
	var c legacySetup
	frailServers(t, &c)
	h := startLegacy(t, c)
	h.alike("hasty", "reports")
	h.alike("faulty", "reports")
	h.alike("mortal", "ledger")
	h.shortTokens("reports", "hasty", "faulty", "ledger", "mortal")
	h.killedUnderLoad(newVaultLoad(h, "reports", "hasty", "faulty", "ledger", "mortal"), h.replica)
	if h.sqliteRecords() == 0 {
		t.Error("the store knows nothing of what was left")
	}
	h.start(t)
	h.nothingIsLeft(h.sqliteRecords)
	said, err := h.query(deadline(t), h.token("alice", "reports", true), "reports", plain)
	if err != nil || !strings.HasPrefix(said.User, "v-jwt-alic-reports") {
		t.Errorf("a call afterwards: %+v, error %v", said, err)
	}
}

// A20: TestKilledReplicaLeavesNoLease: another one, of the same PostgreSQL, revokes what
// the calls of the killed one had.
func TestKilledReplicaLeavesNoLease(t *testing.T) {
	t.Parallel()
	store := pgtest.Migrated(t)
	c := legacySetup{extra: "key_encryption_key: kek\nstore: {postgres: {url: \"" + store + "\"}}\naudit: {name: replica-0}\n", files: map[string]string{"kek": sharedKEK}}
	frailServers(t, &c)
	h := startLegacy(t, c)
	h.alike("hasty", "reports")
	h.alike("faulty", "reports")
	h.alike("mortal", "ledger")
	h.shortTokens("reports", "hasty", "faulty", "ledger", "mortal")
	other := h.another(1)
	l := newVaultLoad(h, "reports", "hasty", "faulty", "ledger", "mortal")
	l.at = "http://" + other.listen
	h.killedUnderLoad(l, other)
	h.nothingIsLeft(func() int {
		n, err := strconv.Atoi(pgtest.Query(t, store, "SELECT count(*) FROM vault_leases"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	})
}

// another starts a further replica of the same house.
func (h *legacyHouse) another(i int) *replica {
	h.t.Helper()
	listen, files := freeport.Address(h.t), map[string]string{}
	names, err := filepath.Glob(filepath.Join(h.dir, "*"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			files[filepath.Base(name)] = readFile(h.t, name)
		}
	}
	files["wicketgate.yaml"] = strings.NewReplacer("\nlisten: "+h.listen, "\nlisten: "+listen, strings.TrimPrefix(h.admin, "http://"), freeport.Address(h.t),
		"name: replica-0", "name: replica-"+strconv.Itoa(i)).Replace(files["wicketgate.yaml"])
	r := newServe(h.t, listen, files)
	r.start(h.t)
	return r
}
