package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wicketgate/wicketgate/internal/sandbox"
)

func TestMain(m *testing.M) {
	if mine, err := sandbox.Run(os.Args); mine {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testscript.Main(m, map[string]func(){
		"wicketgate":   main,
		"legacy-stdio": legacyStdio,
	})
}

// TestScripts runs testdata/script: flags, errors, starting and stopping.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: map[string]func(*testscript.TestScript, bool, []string){"devcalls": devCalls}})
}
