package stdio

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const homePattern = "wicketgate-process-*"

// home is the temporary folder of a process. We hold a lock on it, which ends with us
// however we end: a folder without one is what kill -9 has left behind.
type home struct {
	path string
	lock *os.File
}

func newHome() (home, error) {
	for {
		path, err := os.MkdirTemp("", homePattern)
		if err != nil {
			return home{}, err
		}
		h := home{path: path}
		if h.lock, err = lock(path, unix.LOCK_EX); err == nil {
			if _, err = os.Lstat(path); err == nil {
				return h, nil
			}
		}
		if err := errors.Join(err, h.remove()); !errors.Is(err, fs.ErrNotExist) { // else another took it for one that was left
			return home{}, err
		}
	}
}

// lock opens a folder and locks it.
func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	err = syscall.EINTR
	for errors.Is(err, syscall.EINTR) {
		err = unix.Flock(int(f.Fd()), how)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (h home) remove() error {
	defer h.lock.Close() // of nil too
	return os.RemoveAll(h.path)
}

// removeLeft removes the folders of processes whose Wicketgate was killed.
func removeLeft(log *slog.Logger) {
	paths, err := filepath.Glob(filepath.Join(os.TempDir(), homePattern))
	if err != nil {
		log.Warn("look for folders that were left behind", "error", err)
	}
	for _, path := range paths {
		if info, err := os.Lstat(path); err != nil || !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid()) {
			continue
		}
		held, err := lock(path, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil { // it is in use, or gone
			continue
		}
		if err := (home{path, held}).remove(); err != nil {
			log.Warn("remove a folder that was left behind", "error", err)
		}
	}
}
