package needed

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// found has the path of each program, or why there is none, by its package.
var found sync.Map

type program struct {
	path string
	err  error
}

// Built is the path of a program that tools/build.sh builds of tools/NAME. It does not
// build it, which takes minutes: the test ends where that was not done, and how says by
// what it is.
func Built(t testing.TB, name, pkg, how string) string {
	t.Helper()
	p, ok := found.Load(pkg)
	if !ok {
		path, err := find(name, pkg)
		p, _ = found.LoadOrStore(pkg, program{path, err})
	}
	if err := p.(program).err; err != nil {
		Missing(t, filepath.Base(pkg)+" is not built ("+err.Error()+"): run "+how)
	}
	return p.(program).path
}

func find(name, pkg string) (string, error) {
	root, err := Repository()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(filepath.Join(root, "tools", "build.sh"), "-n", name, pkg).Output()
	if err != nil {
		return "", err
	}
	path := strings.TrimSpace(string(out))
	_, err = os.Stat(path)
	return path, err
}

// Repository is the folder with the sources, of which a test's own folder is a part.
func Repository() (string, error) {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		dir = filepath.Dir(dir)
	}
	return "", errors.Join(errors.New("no go.mod above the test's folder"), err)
}
