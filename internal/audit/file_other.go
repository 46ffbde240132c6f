//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package audit

import (
	"errors"
	"os"
)

type fileID struct{ size int64 }

// lockFile refuses: a log that two processes could append to is none.
func lockFile(*os.File) error { return errors.ErrUnsupported }

func stat(string) (fileID, error) { return fileID{}, errors.ErrUnsupported }

func fstat(*os.File) (fileID, error) { return fileID{}, errors.ErrUnsupported }
