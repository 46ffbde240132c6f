# METADATA
# title: What access.yaml grants
# description: |
#   The one question of Wicketgate (AuthZEN §5): may this caller do this action
#   with this tool of this server? Every step is a look-up by key, so the cost of
#   an answer does not grow with the number of people or tools.
#
#   input: kind ("user" or "client"), name, action, server, tool.
#   data:  users and clients (name to roles), roles (role to servers to tools),
#          compiled from access.yaml.
package wicketgate.access

decision := {"allow": true, "reason": "allowed", "rule": "session"} if {
	input.action == "session"
} else := {"allow": false, "reason": "unknown_action", "rule": ""} if {
	input.action != "tools/call"
} else := {"allow": true, "reason": "allowed", "rule": min(grants)} if {
	count(grants) > 0
} else := {"allow": false, "reason": "not_granted", "rule": ""} if {
	roles
} else := {"allow": false, "reason": "no_role", "rule": ""}

# A person and a workload of the same name are different callers: each has only
# the roles of its own kind.
roles := data.users[input.name] if input.kind == "user"

roles := data.clients[input.name] if input.kind == "client"

# The rules that grant the call. A condition belongs into these bodies, where it
# can only take a grant away: as a rule of its own it would make one.
grants contains server.tools[input.tool].rule if {
	some role, _ in roles
	server := data.roles[role].servers[input.server]
}

grants contains server.every_tool.rule if {
	some role, _ in roles
	server := data.roles[role].servers[input.server]
}
