// Command wicketgate is an OAuth 2.1 authorization server, a token-exchange
// service and an enforcing gateway for the Model Context Protocol.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/sandbox"
)

func main() {
	if mine, err := sandbox.Run(os.Args); mine { // a stdio server, to be confined before it runs
		if err != nil {
			fmt.Fprintln(os.Stderr, "wicketgate:", err)
			os.Exit(1)
		}
		return
	}
	tuneGC()
	os.Exit(run(untilSignal(), os.Args[1:], os.Stdout, os.Stderr))
}

// untilSignal is done at the first SIGINT or SIGTERM; the second one ends the
// process at once, with the exit code that a shell gives for it.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		if s, ok := (<-signals).(syscall.Signal); ok {
			os.Exit(128 + int(s))
		}
	}()
	return ctx
}

// errReported is returned by a command that has said itself what is wrong.
var errReported = errors.New("reported")

// configError says that the configuration is wrong: exit code 2.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	log.SetOutput(unquoted{stderr})
	root := &cobra.Command{
		Use:   "wicketgate",
		Short: "Authorization server, token exchange and enforcing gateway for MCP",
		Long: `Authorization server, token exchange and enforcing gateway for the Model Context
Protocol. wicketgate dev tries it on this machine, wicketgate serve is the real
thing; the other commands work beside either.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(longFlags(args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(devCommand(), serveCommand(), enforceCommand(), migrateCommand(), clientsCommand(), toolsCommand(), freezeCommand(), unfreezeCommand(), revokeCommand(), keysCommand(), auditCommand(), policyCommand(), importCommand(), callCommand(), approvalsCommand(waitFor), vaultCommand(waitFor))
	err := root.ExecuteContext(ctx)
	var wrong *configError
	var mistakes *mistakesError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &mistakes): // each line begins with its place, for editors
		fmt.Fprintf(stderr, "%v\nwicketgate: the configuration is wrong, and nothing was started\n", mistakes)
	case !errors.Is(err, errReported):
		fmt.Fprintln(stderr, "wicketgate:", err)
	}
	if errors.As(err, &wrong) {
		return 2
	}
	return 1
}

// longFlags accepts -check-config, as nginx and others spell it.
func longFlags(args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if a == "-check-config" {
			args[i] = "-" + a
		}
	}
	return args
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// tuneGC lets garbage grow to four times the live heap, which is small here (some
// 10 MB), before it is collected: a collection every few hundred calls would cost
// each of them more than the 40 MB are worth. GOGC in the environment wins.
func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
