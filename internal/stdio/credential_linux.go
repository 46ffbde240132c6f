package stdio

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/wicketgate/wicketgate/internal/credential"
)

// firstFile is the first descriptor after the standard streams.
const firstFile = 3

// give has the command start with the credential: its variables count before those that
// are there, and its files are descriptors. These have no name by which others could open
// them, and the kernel frees them with the process, whatever ended it or us.
func give(cmd *exec.Cmd, c *credential.Credential) error {
	if c == nil {
		return nil
	}
	cmd.Env = append(cmd.Env, c.Env()...) // of a name that comes twice, the last one counts
	for _, f := range c.Files() {
		file, err := memoryFile(f)
		if err != nil {
			return fmt.Errorf("file of the credential for the variable %s: %w", f.Env, err)
		}
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=/proc/self/fd/%d", f.Env, firstFile+len(cmd.ExtraFiles)))
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	return nil
}

// given forgets what give has handed over.
func given(cmd *exec.Cmd) {
	for _, f := range cmd.ExtraFiles {
		_ = f.Close()
	}
	cmd.Env, cmd.ExtraFiles = nil, nil
}

// memoryFile is a file that nobody can change, and that only its owner may read: programs
// such as libpq refuse a file with a password that others might.
func memoryFile(f credential.File) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(f.Name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3
		fd, err = unix.MemfdCreate(f.Name, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), f.Name)
	_, err = file.Write(f.Content)
	if err = errors.Join(err, file.Chmod(0o400)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
