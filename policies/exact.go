package policies

import (
	"errors"
	"fmt"
	"strings"
)

var errMatchesMore = errors.New(`access.yaml takes it for a pattern, which grants more: write what you mean yourself`)

// CheckGrant returns why access.yaml cannot grant exactly the one of the list, tools,
// resources or prompts, of the server that has this name.
func CheckGrant(server, list, name string) error {
	switch {
	case !validServer(server):
		return errors.New("there is no server of such a name")
	case list != "resources" && !validTool(name):
		return fmt.Errorf("none of its %s can have such a name", list)
	case list == "resources" && strings.Contains(name, every):
		return errMatchesMore
	case list == "resources":
		return checkGrantedURI(name)
	}
	return nil
}

// CheckCaller returns why access.yaml cannot name exactly this caller among its users
// (kind "user") or clients ("client").
func CheckCaller(kind, name string) error {
	switch {
	case strings.Contains(name, every) && kind == "client":
		return errMatchesMore
	case kind == "client":
		return checkClient(name)
	}
	return checkUser(name)
}
