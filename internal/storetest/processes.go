package storetest

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// Fight takes part in RunProcesses, as another process: for each round that it
// reads it says how many won here.
func Fight(ctx context.Context, s Store, in io.Reader, out io.Writer) error {
	for {
		var contest, round, firstFighter int
		if n, err := fmt.Fscanln(in, &contest, &round, &firstFighter); n == 0 && err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		won, err := contests[contest].fight(ctx, []Store{s}, round, firstFighter)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, won); err != nil {
			return err
		}
	}
}

// RunProcesses fights every contest between two other processes, which command
// makes: each runs Fight over the same database. All fight each round together.
// Zero rounds: 1,000.
func RunProcesses(t *testing.T, rounds int, open func(t *testing.T) (s Store, command func() *exec.Cmd)) {
	rounds = cmp.Or(rounds, mostRounds)
	for k, c := range contests {
		t.Run(c.name+" between two processes has one winner in each round", func(t *testing.T) {
			s, command := open(t)
			c.prepareAll(t, s, rounds)
			all := []*process{newProcess(t, command()), newProcess(t, command())}
			for i := range rounds {
				for j, p := range all {
					p.say(t, k, i, j*fighters)
				}
				won := 0
				for _, p := range all {
					won += p.hear(t)
				}
				c.wantOne(t, s, i, won, len(all)*fighters)
			}
		})
	}
}

type process struct {
	in  io.Writer
	out *bufio.Reader
}

func newProcess(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	must(t, err1)
	must(t, err2)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, in.Close())
		if err := cmd.Wait(); err != nil {
			t.Errorf("the other process: %v", err)
		}
	})
	return &process{in, bufio.NewReader(out)}
}

func (p *process) say(t *testing.T, words ...any) {
	t.Helper()
	_, err := fmt.Fprintln(p.in, words...)
	must(t, err)
}

func (p *process) hear(t *testing.T) (won int) {
	t.Helper()
	_, err := fmt.Fscanln(p.out, &won)
	must(t, err)
	return won
}
