package wicketgate.access_test

import data.wicketgate.access

users := {"alice": {"reader": true}, "bob": {"reader": true, "operator": true}, "eve": {"gone": true}}

clients := {"agent": {"operator": true}}

roles := {
	"reader": {"servers": {"mail": {"tools": {"read": {"rule": "reader/read"}}}}},
	"operator": {"servers": {
		"mail": {"tools": {"read": {"rule": "operator/read"}, "send": {"rule": "operator/send"}}},
		"files": {"every_tool": {"rule": "operator/*"}, "tools": {}},
	}},
}

decide(kind, name, server, tool) := answer if {
	question := {"kind": kind, "name": name, "action": "tools/call", "server": server, "tool": tool}
	answer := access.decision with input as question
		with data.users as users
		with data.clients as clients
		with data.roles as roles
}

allowed(rule) := {"allow": true, "reason": "allowed", "rule": rule}

denied(reason) := {"allow": false, "reason": reason, "rule": ""}

test_granted_tool if decide("user", "alice", "mail", "read") == allowed("reader/read")

test_tool_not_granted if decide("user", "alice", "mail", "send") == denied("not_granted")

test_server_not_granted if decide("user", "alice", "files", "read") == denied("not_granted")

test_first_of_several_rules if decide("user", "bob", "mail", "read") == allowed("operator/read")

test_every_tool if decide("user", "bob", "files", "anything") == allowed("operator/*")

test_workload if decide("client", "agent", "mail", "send") == allowed("operator/send")

test_user_is_not_the_client_of_that_name if decide("user", "agent", "mail", "send") == denied("no_role")

test_client_is_not_the_user_of_that_name if decide("client", "alice", "mail", "read") == denied("no_role")

test_unknown_kind if decide("robot", "alice", "mail", "read") == denied("no_role")

test_role_that_does_not_exist if decide("user", "eve", "mail", "read") == denied("not_granted")

test_session if access.decision == allowed("session") with input as {"action": "session"}

test_unknown_action if {
	access.decision == denied("unknown_action") with input as {"action": "x", "kind": "user", "name": "bob", "server": "files", "tool": "y"}
		with data.users as users
		with data.roles as roles
}

test_empty_input_is_not_allowed if not access.decision.allow with input as {}

test_no_data if access.decision == denied("no_role") with input as {"action": "tools/call", "kind": "user", "name": "bob", "server": "mail", "tool": "read"}
