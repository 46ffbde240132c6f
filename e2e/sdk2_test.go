package e2e_test

import (
	"context"
	"testing"
)

const sdk2ClientName = "TypeScript SDK 2 under test"

// sdk2Login logs in as the robot's user with @modelcontextprotocol/client, which
// checks the issuer and RFC 9207 where its predecessor does not. The mode is how it finds
// the era to speak; sdk.mjs has the choice.
func sdk2Login(t *testing.T, endpoint, mode string, r *robot) (tsClient, visit, *output) {
	t.Helper()
	ctx := deadline(t)
	return startTS(ctx, t, program(ctx, t, nil, "node", "sdk.mjs", endpoint, sdk2ClientName, callback, mode), r)
}

// sdk2Modes is the era that each mode comes to.
var sdk2Modes = map[string]string{"legacy": legacy, "auto": modern, modern: modern}

func TestTypeScript2ClientOfAReader(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	for mode, era := range sdk2Modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			h := startHouseWith(t, t.TempDir(), "0", "--verbose")
			c, seen, stderr := sdk2Login(t, h.resource(), mode, newRobot("alice", "approve"))
			checkConsent(t, h, seen, sdk2ClientName)
			checkReader(t, c)
			if m, err := c.ask(object{"refresh": true}); err != nil || !m.Refreshed {
				t.Fatalf("refresh = %+v, %v, want another access token", m, err)
			}
			checkReader(t, c)
			checkEra(t, h, "alice", era)
			checkSilent(t, h, stderr)
		})
	}
}

func TestTypeScript2ClientOfAnOperator(t *testing.T) {
	t.Parallel()
	needPrograms(t)
	for mode, era := range sdk2Modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			h := startHouse(t)
			c, _, _ := sdk2Login(t, h.resource(), mode, newRobot("bob", "approve"))
			checkOperator(t, c)
			checkEra(t, h, "bob", era)
		})
	}
}

// sdk2Client can do what drive.mjs adds.
type sdk2Client struct{ tsClient }

func (c sdk2Client) resources(context.Context) ([]string, error) {
	m, err := c.ask(object{"resources": true})
	return m.Names, err
}

func (c sdk2Client) prompts(context.Context) ([]string, error) {
	m, err := c.ask(object{"prompts": true})
	return m.Names, err
}

func (c sdk2Client) read(_ context.Context, uri string) (string, error) {
	m, err := c.ask(object{"read": uri})
	return m.Text, err
}

func (c sdk2Client) prompt(_ context.Context, name string, arguments map[string]string) (string, error) {
	m, err := c.ask(object{"prompt": object{"name": name, "arguments": arguments}})
	return m.Text, err
}

func (c sdk2Client) progress(_ context.Context, tool string, arguments object, _ int) ([]float64, error) {
	m, err := c.ask(object{"watch": object{"name": tool, "arguments": arguments}})
	return m.Progress, err
}

var _ fullClient = sdk2Client{}
