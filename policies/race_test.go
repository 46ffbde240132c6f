//go:build race

package policies_test

import (
	"flag"
	"os"
	"testing"
)

// The race detector makes an evaluation ten times as slow, and there is one goroutine in
// most tests here: with it, random tests take fewer turns and TestSmallModel asks every
// eleventh question. make unit runs it without as well.
const smallModelStep = 11

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("rapid.checks", "10"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
