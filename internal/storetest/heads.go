package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
)

var headTests = []test{
	{"the newest head of each log comes back with every field", headRoundTrip},
	{"an audit log cannot be rolled back to an older head", olderHead},
	{"an audit log cannot get another history at the same line", forkedHead},
	{"parallel heads leave the newest", raceHeads},
	{"heads are there after the store was closed and opened", persistHeads},
}

func someHead(log string, seq uint64) audit.Head {
	return audit.Head{Log: log, Seq: seq, Hash: fmt.Sprint("hash-", seq), Time: at.Add(time.Duration(seq) * time.Second),
		KeyID: "audit-1", Signature: fmt.Sprint("signature-", seq)}
}

func wantHeads(t *testing.T, s Store, log string, want ...audit.Head) {
	t.Helper()
	got, err := s.Heads(t.Context(), log)
	must(t, err)
	wantSame(t, "Heads", got, want)
	for _, h := range got {
		wantUTC(t, h.Time)
	}
}

func headRoundTrip(t *testing.T, s Stores) {
	wantHeads(t, s, "")
	must(t, s.SaveHead(t.Context(), someHead("a", 1)))
	must(t, s.SaveHead(t.Context(), someHead("B", 7)))
	must(t, s.SaveHead(t.Context(), someHead("a", 1<<62)))
	// By bytes: a locale would put a before B.
	wantHeads(t, s, "", someHead("B", 7), someHead("a", 1<<62))
	wantHeads(t, s, "a", someHead("a", 1<<62))
	wantHeads(t, s, "c")
}

func olderHead(t *testing.T, s Stores) {
	must(t, s.SaveHead(t.Context(), someHead("log", 20)))
	for _, seq := range []uint64{19, 0, 20} {
		must(t, s.SaveHead(t.Context(), someHead("log", seq)))
		wantHeads(t, s, "log", someHead("log", 20))
	}
}

func forkedHead(t *testing.T, s Stores) {
	kept := someHead("log", 20)
	must(t, s.SaveHead(t.Context(), kept))
	signedAgain := kept
	signedAgain.Signature, signedAgain.Time = "another", at.Add(time.Hour)
	must(t, s.SaveHead(t.Context(), signedAgain))
	forked := kept
	forked.Hash = "another"
	if err := s.SaveHead(t.Context(), forked); err == nil {
		t.Error("SaveHead of another history = nil, want an error")
	}
	wantHeads(t, s, "log", kept)
}

func raceHeads(t *testing.T, s Stores) {
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		return s.SaveHead(ctx, someHead("log", uint64(i)))
	})) {
		must(t, err)
	}
	wantHeads(t, s, "log", someHead("log", 15))
}

func persistHeads(t *testing.T, s Stores) {
	must(t, s.SaveHead(t.Context(), someHead("log", 3)))
	must(t, s.Close())
	wantHeads(t, s.Open(t), "log", someHead("log", 3))
}
