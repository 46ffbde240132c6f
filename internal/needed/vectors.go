package needed

import (
	"os"
	"path/filepath"
	"testing"
)

// Vectors reads a file of the test vectors of C2SP/wycheproof, which are not part of this
// repository: they are in the folder $WICKETGATE_VECTORS, or beside the checkout. It fails
// in CI; elsewhere ok says whether the file is there.
//
// WICKETGATE_REQUIRE_E2E does not ask for them: nothing installs them.
func Vectors(t testing.TB, file string) (b []byte, ok bool) {
	t.Helper()
	dir := os.Getenv("WICKETGATE_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors") // of a package two folders deep
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	switch {
	case err == nil:
		return b, true
	case os.Getenv("CI") != "":
		t.Fatal(err)
	}
	t.Logf("no vectors of C2SP/wycheproof (set WICKETGATE_VECTORS to their folder): %v", err)
	return nil, false
}
