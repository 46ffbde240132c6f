//go:build linux

package stdio_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/wicketgate/wicketgate/internal/sandbox"
	"github.com/wicketgate/wicketgate/internal/stdio"
)

const serverVariable = "WICKETGATE_TEST_STDIO_SERVER"

// TestMain is the MCP server of the tests, too: a process of its own.
func TestMain(m *testing.M) {
	if mine, err := sandbox.Run(os.Args); mine {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	switch os.Getenv(serverVariable) {
	case "":
		os.Exit(m.Run())
	case "gateway":
		gateway()
	case "never": // says nothing
		signal.Ignore(syscall.SIGTERM)
		fmt.Fprintln(os.Stderr, "up")
		sleep()
	case "sleeper":
		sleep()
	case "dumb":
		fmt.Println("I speak no JSON")
		os.Exit(3)
	default:
		serveLines()
	}
}

// sleep does nothing, until it is killed.
func sleep() {
	for {
		_ = syscall.Pause()
	}
}

type line struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Meta struct {
			ProgressToken json.RawMessage
		} `json:"_meta"`
		Text      string
		Name      string
		Arguments struct{ Text string }
	}
	Result json.RawMessage

	raw string // the whole line
}

// initialized is the params of initialize.
var initialized string

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// serveLines answers by method. What is held is answered by the next release.
func serveLines() {
	in := bufio.NewReader(os.Stdin)
	var held []json.RawMessage
	var told json.RawMessage // the latest response
	var what json.RawMessage // who waits for it
	for {
		raw, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			fmt.Fprintln(os.Stderr, "bad line:", err)
			os.Exit(4)
		}
		if l.raw = strings.TrimSpace(string(raw)); l.Method == "tools/call" {
			l.Method, l.Params.Text = l.Params.Name, l.Params.Arguments.Text
		}
		switch l.Method {
		case "hold":
			held = append(held, l.ID)
			say(`{"jsonrpc":"2.0","method":"notifications/held","params":{"id":%s}}`, l.ID)
		case "release":
			for _, id := range held {
				answer(id, `"released"`)
			}
			held = nil
			answer(l.ID, `"ok"`)
		case "":
			told = raw
			if l.Result != nil {
				say(`{"jsonrpc":"2.0","method":"notifications/told","params":{"result":%s}}`, l.Result)
			}
		case "what":
			what = l.ID
		default:
			serveLine(l)
		}
		if what != nil && told != nil {
			answer(what, strings.TrimSpace(string(told)))
			what = nil
		}
	}
}

func answer(id json.RawMessage, result string) {
	say(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

func serveLine(l line) {
	switch l.Method {
	case "initialize":
		if l.Params.Text == "refuse" {
			say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"no"}}`, l.ID)
			return
		}
		initialized = l.raw
		answer(l.ID, `{"protocolVersion":"`+cmp.Or(os.Getenv("VERSION"), "2025-11-25")+`","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}},"serverInfo":{"name":"t","version":"0"},"instructions":"be kind"}`)
	case "pid":
		answer(l.ID, fmt.Sprint(os.Getpid()))
	case "odd": // bytes that a re-encoding would change
		say("  {\"result\" : {\"z\":1.0,\"a\":\"\\u0041\"}, \"id\":%s,\t\"jsonrpc\":\"2.0\"}\r", l.ID)
	case "progress":
		say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, l.Params.Meta.ProgressToken)
		answer(l.ID, `"done"`)
	case "notify":
		say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%q}}`, l.Params.Text)
		answer(l.ID, `"done"`)
	case "notifications/announce":
		say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	case "notifications/ask":
		say(`{"jsonrpc":"2.0","id":"q1","method":"roots/list"}`)
	case "env":
		b, _ := json.Marshal(os.Environ())
		answer(l.ID, string(b))
	case "junk":
		say("Starting server, please wait")
		say(`{"jsonrpc":"2.0","id":%s,"result":1,"result":2}`, l.ID)
		say(`[{"jsonrpc":"2.0","id":%s,"result":"batch"}]`, l.ID)
		answer(l.ID, `"after junk"`)
	default:
		serveCredential(l)
	}
}

// serveCredential does what is about what a process was given.
func serveCredential(l line) {
	result := func(v any) {
		b, _ := json.Marshal(map[string]any{"it": v})
		answer(l.ID, string(b))
	}
	switch l.Method {
	case "which":
		result(os.Getpid())
	case "steps":
		say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"another","progress":1}}`)
		say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, l.Params.Meta.ProgressToken)
		say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"hello"}}`)
		result("done")
	case "stubbornly":
		signal.Ignore(syscall.SIGTERM)
		result("I stay")
		sleep()
	case "silent":
		signal.Ignore(syscall.SIGTERM)
		fmt.Fprintln(os.Stderr, "up")
		sleep()
	case "seen": // what came
		result(initialized + l.raw)
	case "environment":
		result(os.Environ())
	case "file": // by the variable
		path := os.Getenv(l.Params.Text)
		first, err := os.ReadFile(path)
		second, err2 := os.ReadFile(path)
		info, err3 := os.Stat(path)
		if err = errors.Join(err, err2, err3); err != nil {
			result(err.Error())
			return
		}
		result(fmt.Sprintf("%s %v %v", first, info.Mode(), string(first) == string(second)))
	case "overwrite":
		result(fmt.Sprint(os.WriteFile(os.Getenv(l.Params.Text), []byte("x"), 0o600)))
	case "descriptors":
		var all []string
		for fd := range 100 {
			if to, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd)); err == nil {
				all = append(all, to)
			}
		}
		result(all)
	case "leak": // in all ways of not being found
		password := os.Getenv("PASSWORD")
		for n := range stdio.MaxLogged {
			fmt.Fprintln(os.Stderr, strings.Repeat("x", n)+password)
		}
		fmt.Fprintln(os.Stderr, password+strings.Repeat(password, stdio.MaxMasked/len(password)))
		fmt.Println("no message: " + password)
		result("leaked")
		fmt.Fprint(os.Stderr, password[:len(password)-1])
		os.Exit(0)
	case "litter":
		path := os.Getenv("HOME") + "/litter"
		if err := os.WriteFile(path, []byte(os.Getenv("PASSWORD")), 0o600); err != nil {
			path = err.Error()
		}
		result(path)
	default:
		serveProcess(l)
	}
}

// serveProcess does what is about the process itself.
func serveProcess(l line) {
	switch l.Method {
	case "exit":
		os.Exit(0)
	case "long":
		say(`{"jsonrpc":"2.0","id":%s,"result":"%s"}`, l.ID, strings.Repeat("x", 5<<20))
	case "stderr":
		for i := range 1000 {
			fmt.Fprintln(os.Stderr, "line", i, strings.Repeat("y", 2000))
		}
		answer(l.ID, `"done"`)
	case "read":
		_, err := os.ReadFile(l.Params.Text)
		answer(l.ID, fmt.Sprintf("%q", fmt.Sprint(err)))
	case "many":
		for range 100 {
			c := exec.Command("/proc/self/exe")
			c.Env = []string{serverVariable + "=sleeper"}
			if err := c.Start(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(5)
			}
		}
		sleep()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		answer(l.ID, `"I stay"`)
		sleep()
	case "mute":
		signal.Ignore(syscall.SIGTERM)
		say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%d}}`, os.Getpid())
		sleep()
	case "ask":
		say(`{"jsonrpc":"2.0","id":"p","method":"ping"}`)
		say(`{"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{}}`)
		say(`{"jsonrpc":"2.0","id":"n","method":"notifications/message","params":{}}`)
		say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		in := bufio.NewReader(os.Stdin) // nothing else is read any more
		var told []string
		for range 3 {
			l, _ := in.ReadString('\n')
			told = append(told, strings.TrimSpace(l))
		}
		b, _ := json.Marshal(map[string]any{"it": told})
		answer(l.ID, string(b))
	case "child": // in a session of its own, where no signal to the group of its parent finds it
		c := exec.Command("/proc/self/exe")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: l.Params.Text != ""}
		c.Env, c.Stdout = []string{serverVariable + "=sleeper", "MARK=" + l.Params.Text}, os.Stdout
		if err := c.Start(); err != nil {
			answer(l.ID, `"failed"`)
			return
		}
		answer(l.ID, fmt.Sprint(c.Process.Pid))
	}
}
