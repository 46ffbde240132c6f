package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/audit"
)

func TestEveryFieldIsInTheLine(t *testing.T) {
	want := audit.Event{}
	v := reflect.ValueOf(&want).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		switch f := v.Field(i); f.Interface().(type) {
		case time.Time:
			f.Set(reflect.ValueOf(start))
		case time.Duration:
			f.SetInt(int64(1234 * time.Microsecond))
		case bool:
			f.SetBool(true)
		case int:
			f.SetInt(int64(i + 1))
		case []string:
			f.Set(reflect.ValueOf([]string{"outer \"quoted\"\n", "inner"}))
		default:
			if f.Kind() == reflect.String {
				f.SetString(name + " \u00e9\x00<\u2028>\n")
			} else {
				f.SetBytes([]byte(`{"limit":100}`))
			}
		}
	}
	d := newLogs(t)
	l := d.open()
	record(t, l, want)
	closeLog(t, l)
	if diff := cmp.Diff(want, d.events()[2].Event); diff != "" {
		t.Errorf("the line holds another event (-want +got):\n%s", diff)
	}
	if line := d.lines()[2]; !strings.Contains(line, `"duration_us":1234,`) || !strings.Contains(line, `"time":"2026-03-01T12:00:00.123456789Z"`) {
		t.Errorf("line = %s, want duration_us and time", line)
	}
}

func TestClosedLogIsWholeAndCoveredByAHead(t *testing.T) {
	d := filled(t, 5)
	r := d.intact()
	if r.Unsigned != 0 || r.Stored == nil {
		t.Errorf("Verify() = %+v, want all lines covered", r)
	}
	want := []audit.Kind{"start", "head", "intent", "intent", "intent", "intent", "head", "intent", "stop", "head"}
	if diff := cmp.Diff(want, kinds(d.events())); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(r.String(), "\nok\n") {
		t.Errorf("report = %s", r)
	}
}

func TestReopenedLogContinuesTheChain(t *testing.T) {
	d := filled(t, 3)
	before := d.bytes()
	l := d.open()
	record(t, l, audit.Event{Kind: audit.Outcome})
	closeLog(t, l)
	if !strings.HasPrefix(string(d.bytes()), string(before)) {
		t.Error("reopening changed old lines")
	}
	d.intact()
}

func TestSixteenWritersMakeOneChain(t *testing.T) {
	for _, sync := range []bool{false, true} {
		t.Run(fmt.Sprintf("sync=%v", sync), func(t *testing.T) {
			d := newLogs(t)
			cfg := d.config()
			cfg.Sync, cfg.Every = sync, 64
			l, err := audit.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			writeFrom16(t, l, 50)
			closeLog(t, l)
			d.intact()
			calls := map[string]int{}
			for _, e := range d.events() {
				calls[e.Call]++
			}
			delete(calls, "")
			if len(calls) != 800 {
				t.Errorf("%d of 800 events are in the log", len(calls))
			}
		})
	}
}

func writeFrom16(t *testing.T, l *audit.Log, n int) {
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range n {
				if err := l.Record(t.Context(), audit.Event{Kind: audit.Intent, Call: fmt.Sprintf("%d-%d", g, i)}); err != nil {
					t.Errorf("Record() = %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestLastLineIsSignedAndSavedWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newLogs(t)
		l := d.open()
		record(t, l, audit.Event{Kind: audit.Intent})
		if r := d.intact(); r.Unsigned != 1 {
			t.Errorf("unsigned lines = %d, want 1 before the second is over", r.Unsigned)
		}
		time.Sleep(time.Second) // synctest's clock
		synctest.Wait()
		if r := d.intact(); r.Unsigned != 0 || r.Stored.Seq != 3 {
			t.Errorf("after a second: unsigned = %d, stored = %d; want 0, 3", r.Unsigned, r.Stored.Seq)
		}
		size := len(d.bytes())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := len(d.bytes()); got != size {
			t.Errorf("an idle log grew from %d to %d bytes", size, got)
		}
		closeLog(t, l)
	})
}

func TestStoreThatFailsDoesNotStopCallsAndGetsTheHeadLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newLogs(t)
		l := d.open()
		d.store.setFail(errors.New("store is down"))
		record(t, l, audit.Event{Kind: audit.Intent})
		time.Sleep(3 * time.Second)
		record(t, l, audit.Event{Kind: audit.Outcome})
		d.store.setFail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if r := d.intact(); r.Stored.Seq != 5 {
			t.Errorf("stored head covers line %d, want 5", r.Stored.Seq)
		}
		closeLog(t, l)
	})
}

func TestOpenFailsClosedWithoutItsStoreOrSigner(t *testing.T) {
	d := newLogs(t)
	d.store.setFail(errors.New("store is down"))
	if _, err := audit.Open(t.Context(), d.config()); err == nil {
		t.Error("Open() = nil with a store that is down")
	}
	d.store.setFail(nil)
	cfg := d.config()
	cfg.Signer = brokenSigner{}
	if _, err := audit.Open(t.Context(), cfg); err == nil {
		t.Error("Open() = nil with a signer that fails")
	}
}

type brokenSigner struct{}

func (brokenSigner) Sign([]byte) (string, []byte, error) { return "", nil, errors.New("no key") }

func TestSecondProcessCannotOpenTheLog(t *testing.T) {
	d := newLogs(t)
	d.open()
	if l, err := audit.Open(t.Context(), d.config()); err == nil {
		t.Errorf("second Open() = %v, nil; want an error", l)
	}
}

func TestRecordFailsWhenTheFileIsTaken(t *testing.T) {
	for name, take := range map[string]func(path string) error{
		"deleted":           os.Remove,
		"directory removed": func(p string) error { return os.RemoveAll(filepath.Dir(p)) },
		"moved":             func(p string) error { return os.Rename(p, p+".1") },
		"replaced":          func(p string) error { return errors.Join(os.Rename(p, p+".1"), os.WriteFile(p, nil, 0o600)) },
		"cut":               func(p string) error { return os.Truncate(p, 10) },
		"extended":          func(p string) error { return os.Truncate(p, 1<<16) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newLogs(t)
			l := d.open()
			record(t, l, audit.Event{Kind: audit.Intent})
			if err := take(d.path); err != nil {
				t.Fatal(err)
			}
			if err := l.Record(t.Context(), audit.Event{Kind: audit.Intent}); err == nil {
				t.Error("Record() = nil, want an error")
			}
		})
	}
}

func TestRecordRefusesWhatItCannotWrite(t *testing.T) {
	d := newLogs(t)
	l := d.open()
	for name, e := range map[string]audit.Event{
		"no kind":              {},
		"a forged head":        {Kind: audit.Headed},
		"a forged repair":      {Kind: audit.Recovered},
		"arguments not JSON":   {Kind: audit.Intent, Arguments: []byte(`{"a":1`)},
		"arguments that close": {Kind: audit.Intent, Arguments: []byte(`1},"seq":9`)},
		"duplicate names":      {Kind: audit.Intent, Arguments: []byte(`{"a":1,"a":2}`)},
		"too long":             {Kind: audit.Intent, Reason: strings.Repeat("x", 1<<18)},
	} {
		if err := l.Record(t.Context(), e); !errors.Is(err, audit.ErrBadEvent) {
			t.Errorf("Record(%s) = %v, want ErrBadEvent", name, err)
		}
	}
	record(t, l, audit.Event{Kind: audit.Intent, Arguments: []byte("{\n\"a\": 1}"), Reason: "\xff"})
	closeLog(t, l)
	if err := l.Record(t.Context(), audit.Event{Kind: audit.Intent}); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Record() after Close = %v, want ErrClosed", err)
	}
	d.intact()
}

func TestFileThatComesAndGoesHoldsExactlyWhatWasAcknowledged(t *testing.T) {
	d := newLogs(t)
	l := d.open()
	var writers sync.WaitGroup
	var enough atomic.Bool
	acked := make([][]string, 16) // of each writer
	failed := make(chan struct{}, 1)
	for g := range acked {
		writers.Go(func() {
			for i := 0; !enough.Load(); i++ {
				call := fmt.Sprintf("%d-%d", g, i)
				if l.Record(t.Context(), audit.Event{Kind: audit.Intent, Call: call}) == nil {
					acked[g] = append(acked[g], call)
					continue
				}
				select {
				case failed <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 50 {
		away := os.Rename(d.path, d.path+".1")
		<-failed
		if err := errors.Join(away, os.Rename(d.path+".1", d.path)); err != nil {
			t.Fatal(err)
		}
	}
	enough.Store(true)
	writers.Wait()
	closeLog(t, l)
	d.intact()
	var got []string
	for _, e := range d.events() {
		if e.Call != "" {
			got = append(got, e.Call)
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(slices.Concat(acked...))), slices.Sorted(slices.Values(got))); diff != "" {
		t.Errorf("calls in the log (-acknowledged +got):\n%s", diff)
	}
}
