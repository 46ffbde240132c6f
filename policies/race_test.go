//go:build race

package policies_test

import (
	"flag"
	"os"
	"testing"
)

// Tests that ask an evaluator thousands of questions in one goroutine: the race detector has
// nothing to find in them, and makes them ten times as slow. make unit runs them without it.
const withoutRace = `SmallModel|Agree|OnlyRestrict|OnlyAdd|MeansNothing|NeverGrant|NeverAllows|ANewTool|WhoMayApprove|OnlyDefiniteDenials|` +
	`ExplanationTells|NotMissing|WholeLanguage|NothingThatTheParser|BeyondWhatIsGranted|AllowedOnlyBy|PatternNames|HoursToTheMoment`

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.skip", withoutRace); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
