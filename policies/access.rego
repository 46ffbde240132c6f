# METADATA
# title: What access.yaml grants
# description: |
#   The one question of Wicketgate (AuthZEN §5): may this caller do this action
#   with this tool, resource or prompt of this server? Every step is a look-up by key,
#   so the cost of an answer does not grow with the number of people, groups or tools.
#
#   input: kind ("user" or "client"), name, patterns (of data, those that a workload
#          matches), groups, claims, action, server, tool, resource (a URI),
#          resource_prefixes (of data, those that the URI or the template begins with),
#          prompt.
#   data:  users, clients, patterns and groups (name to roles), roles (role to its
#          conditions, and to servers to tools, resources and prompts), compiled from
#          access.yaml.
package wicketgate.access

decision := {"allow": true, "reason": "allowed", "rule": "session"} if {
	input.action == "session"
} else := {"allow": false, "reason": "unknown_action", "rule": ""} if {
	not input.action in {"tools/call", "resources/read", "prompts/get"}
} else := {"allow": true, "reason": "allowed", "rule": min(grants)} if {
	count(grants) > 0
} else := {"allow": false, "reason": "not_granted", "rule": ""} if {
	count(roles) > 0
} else := {"allow": false, "reason": "no_role", "rule": ""}

# A person and a workload of the same name are different callers: each has only
# the roles of its own kind. Only people are in groups.
assigned contains role if {
	input.kind == "user"
	some role, _ in data.users[input.name]
}

assigned contains role if {
	input.kind == "user"
	some group in input.groups
	some role, _ in data.groups[group]
}

assigned contains role if {
	input.kind == "client"
	some role, _ in data.clients[input.name]
}

assigned contains role if {
	input.kind == "client"
	some pattern in input.patterns
	some role, _ in data.patterns[pattern]
}

# The roles whose conditions all hold. One that names no conditions, not even
# none, is no role.
roles contains role if {
	some role in assigned
	every claim, values in data.roles[role].when {
		holds(claim, values)
	}
}

# A claim holds if it, or one of the list that it is, equals one of the values. An
# absent claim does not. Text is not a number: "1" is not 1.
holds(claim, values) if input.claims[claim] in values

holds(claim, values) if {
	is_array(input.claims[claim])
	some value in input.claims[claim]
	value in values
}

# The rules that grant the call. A condition belongs into these bodies or above,
# where it can only take a grant away: as a rule of its own it would make one. Each
# names its action, so that a tool's grant is never a prompt's of that name.
grants contains server.tools[input.tool].rule if {
	input.action == "tools/call"
	some role in roles
	server := data.roles[role].servers[input.server]
}

grants contains server.every_tool.rule if {
	input.action == "tools/call"
	some role in roles
	server := data.roles[role].servers[input.server]
}

grants contains server.resources[input.resource].rule if {
	input.action == "resources/read"
	some role in roles
	server := data.roles[role].servers[input.server]
}

grants contains server.resources[prefix].rule if {
	input.action == "resources/read"
	some prefix in input.resource_prefixes
	some role in roles
	server := data.roles[role].servers[input.server]
}

grants contains server.every_resource.rule if {
	input.action == "resources/read"
	some role in roles
	server := data.roles[role].servers[input.server]
}

grants contains server.prompts[input.prompt].rule if {
	input.action == "prompts/get"
	some role in roles
	server := data.roles[role].servers[input.server]
}

grants contains server.every_prompt.rule if {
	input.action == "prompts/get"
	some role in roles
	server := data.roles[role].servers[input.server]
}
