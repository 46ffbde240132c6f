package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// load is one closed-loop measurement: each connection sends its next request
// when it has the answer to the last. It writes bytes that were made before and
// reads answers off the socket itself, because net/http's client would cost as
// much as some of the servers do.
type load struct {
	server   *process
	database *process   // what works for the server, if anything
	requests [][][]byte // what each connection sends, over and over
	once     bool       // each request only once
	right    func(status int, body []byte) bool
	then     func(connection int, request, answer []byte) // sees what was right, and may change what is sent next; may be nil
	warm     time.Duration
	time     time.Duration
}

// sample is what came of a load.
type sample struct {
	Calls      int      `json:"calls"`
	P50        float64  `json:"p50_ms"`
	P99        float64  `json:"p99_ms"`
	Rate       float64  `json:"per_second"`
	CPU        float64  `json:"cpu_us_per_call"` // of the server's process alone
	Database   float64  `json:"database_cpu_us_per_call,omitempty"`
	RSS        float64  `json:"rss_mib"` // of the server, afterwards
	WrongCount int      `json:"wrong_answers,omitempty"`
	wrong      []string // some of them
	sent       int      // while it warmed up too
}

// maxWrong ends a connection's loop: more of the same says nothing.
const maxWrong = 10

// connection is one worker with its socket.
type connection struct {
	number    int
	conn      net.Conn
	r         *bufio.Reader
	body      bytes.Buffer
	requests  [][]byte
	sent      int
	latencies []time.Duration
	wrong     []string
}

func (l load) run(ctx context.Context) (sample, error) {
	conns, err := l.dial(ctx)
	defer func() {
		for _, c := range conns {
			c.conn.Close()
		}
	}()
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", l.server.name, err)
	}
	if l.warm > 0 {
		l.phase(conns, l.warm)
	}
	for _, c := range conns {
		c.latencies = make([]time.Duration, 0, 1<<16)
	}
	before, err := l.cpu()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	l.phase(conns, l.time)
	wall := time.Since(start)
	after, err := l.cpu()
	if err != nil {
		return sample{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return sample{}, err
	}
	return l.sum(conns, wall, [2]time.Duration{after[0] - before[0], after[1] - before[1]})
}

// cpu is the CPU time that the server and its database have used.
func (l load) cpu() (used [2]time.Duration, err error) {
	for i, p := range []*process{l.server, l.database} {
		if p == nil {
			continue
		}
		if used[i], err = p.cpu(); err != nil {
			return used, fmt.Errorf("%s has gone: %w%s", p.name, err, p.lastWords())
		}
	}
	return used, nil
}

func (l load) dial(ctx context.Context) ([]*connection, error) {
	var conns []*connection
	for i, requests := range l.requests {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", l.server.url[len("http://"):])
		if err != nil {
			return conns, err
		}
		if err := conn.SetDeadline(time.Now().Add(l.warm + l.time + 30*time.Second)); err != nil {
			return conns, err
		}
		conns = append(conns, &connection{number: i, conn: conn, r: bufio.NewReader(conn), requests: requests})
		context.AfterFunc(ctx, func() { conn.Close() })
	}
	return conns, nil
}

// phase lets all connections work for d.
func (l load) phase(conns []*connection, d time.Duration) {
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for _, c := range conns {
		wg.Go(func() { c.loop(l, end) })
	}
	wg.Wait()
}

func (c *connection) loop(l load, end time.Time) {
	for len(c.wrong) < maxWrong && len(c.requests) > 0 && (!l.once || c.sent < len(c.requests)) {
		start := time.Now()
		if start.After(end) {
			return
		}
		request := c.requests[c.sent%len(c.requests)]
		status, err := c.call(request)
		if err != nil {
			c.wrong = append(c.wrong, err.Error())
			return // the connection is of no use any more
		}
		if !l.right(status, c.body.Bytes()) {
			c.wrong = append(c.wrong, fmt.Sprintf("HTTP %d %.300s", status, c.body.Bytes()))
			continue
		}
		c.latencies = append(c.latencies, time.Since(start))
		if l.then != nil {
			l.then(c.number, request, c.body.Bytes())
		}
	}
}

var post = &http.Request{Method: http.MethodPost} // ReadResponse wants to know what it answers

// call sends the request and reads the answer into body.
func (c *connection) call(request []byte) (int, error) {
	c.sent++
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(c.r, post)
	if err != nil {
		return 0, err
	}
	c.body.Reset()
	if _, err := c.body.ReadFrom(resp.Body); err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func (l load) sum(conns []*connection, wall time.Duration, cpu [2]time.Duration) (sample, error) {
	var s sample
	var all []time.Duration
	for _, c := range conns {
		all = append(all, c.latencies...)
		s.wrong = append(s.wrong, c.wrong...)
		s.sent += c.sent
	}
	slices.Sort(all)
	s.Calls, s.WrongCount = len(all), len(s.wrong)
	s.P50, s.P99 = milliseconds(percentile(all, 50)), milliseconds(percentile(all, 99))
	s.Rate = float64(len(all)) / wall.Seconds()
	if len(all) > 0 {
		s.CPU = float64(cpu[0].Microseconds()) / float64(len(all))
		s.Database = float64(cpu[1].Microseconds()) / float64(len(all))
	}
	var err error
	s.RSS, err = memoryOf(l.server.pid(), "VmRSS")
	return s, err
}

// httpRequest is a POST as it goes over the wire.
func httpRequest(url string, header http.Header, body string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	req.Header = header
	var b bytes.Buffer
	err = req.Write(&b)
	return b.Bytes(), err
}

var preparing = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: connections}}

// send posts one request of the preparation, which is not measured.
func send(ctx context.Context, url string, header http.Header, body string, want int) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, nil, err
	}
	req.Header = header
	resp, err := preparing.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("POST %s: HTTP %s, want %d: %.300s", url, resp.Status, want, strconv.Quote(string(answer)))
	}
	return answer, resp.Header, err
}
