package e2e_test

import "testing"

const sdk2ClientName = "TypeScript SDK 2 under test"

// sdk2Login logs in as the robot's user with @modelcontextprotocol/client, which
// checks the issuer and RFC 9207 where its predecessor does not.
func sdk2Login(t *testing.T, h *house, r *robot) (tsClient, visit, *output) {
	t.Helper()
	ctx := deadline(t)
	return startTS(ctx, t, program(ctx, t, nil, "node", "sdk.mjs", h.resource(), sdk2ClientName, callback), r)
}

func TestTypeScript2ClientOfAReader(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	h := startHouseWith(t, t.TempDir(), "0", "--verbose")
	c, seen, stderr := sdk2Login(t, h, newRobot("alice", "approve"))
	checkConsent(t, h, seen, sdk2ClientName)
	checkReader(t, c)
	if m, err := c.ask(object{"refresh": true}); err != nil || !m.Refreshed {
		t.Fatalf("refresh = %+v, %v, want another access token", m, err)
	}
	checkReader(t, c)
	checkSilent(t, h, stderr)
}

func TestTypeScript2ClientOfAnOperator(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	h := startHouse(t)
	c, _, _ := sdk2Login(t, h, newRobot("bob", "approve"))
	checkOperator(t, c)
}
