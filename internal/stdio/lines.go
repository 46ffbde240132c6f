package stdio

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"time"
)

// Bounds on what a server's standard error may put into the log.
const (
	maxLogged  = 512 // bytes of a line
	maxLogRate = 120 // lines a minute
)

var errLongLine = errors.New("a line is too long")

// lines calls f for each line of r that is not blank, without its end. A line of more
// than limit bytes is errLongLine. The bytes are f's.
func lines(r io.Reader, limit int, f func(line []byte)) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > limit+1 {
			return errLongLine
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(bytes.TrimSpace(line)) > 0 && err == nil { // what the end cuts off is no message
			f(bytes.TrimRight(line, "\r\n"))
		}
		line = nil
		if err != nil {
			return err
		}
	}
}

// logLines puts r into the log: the beginning of each line, and no more than so many
// lines a minute.
func logLines(r io.Reader, log *slog.Logger, now func() time.Time) {
	br := bufio.NewReaderSize(r, maxLogged)
	var minute time.Time
	count, silent := 0, 0
	for {
		part, more, err := br.ReadLine()
		line := bytes.TrimRight(part, "\r")
		text := string(line)
		for more && err == nil {
			_, more, err = br.ReadLine()
		}
		if t := now(); t.Sub(minute) >= time.Minute {
			if silent > 0 {
				log.Warn("stdio server wrote too much to standard error", "lines_left_out", silent)
			}
			minute, count, silent = t, 0, 0
		}
		switch {
		case text == "":
		case count < maxLogRate:
			count++
			log.Info("stdio server", "stderr", text)
		default:
			silent++
		}
		if err != nil {
			return
		}
	}
}
