package wicketgate.access_test

import data.wicketgate.access

users := {"alice": {"reader": true}, "bob": {"reader": true, "operator": true}, "eve": {"gone": true}, "mallory": {"loose": true}, "lena": {"librarian": true}}

clients := {"agent": {"operator": true}, "spiffe://a/x/y": {"reader": true}}

patterns := {"spiffe://a/x/*": {"operator": true}, "spiffe://a/*/y": {"payer": true, "gone": true}, "alice": {"operator": true}}

groups := {"staff": {"reader": true}, "alice": {"operator": true}, "finance": {"payer": true}}

roles := {
	"reader": {"when": {}, "servers": {"mail": {"tools": {"read": {"rule": "reader/read"}}}}},
	"operator": {"when": {}, "servers": {
		"mail": {"tools": {"read": {"rule": "operator/read"}, "send": {"rule": "operator/send"}}},
		"files": {"every_tool": {"rule": "operator/*"}, "tools": {}},
	}},
	"payer": {
		"when": {"department": ["finance"], "level": [1, "2"], "staff": [true]},
		"servers": {"bank": {"tools": {"pay": {"rule": "payer/pay"}}}},
	},
	"librarian": {"when": {}, "servers": {
		"docs": {
			"resources": {"config://app": {"rule": "librarian/app"}, "file:///docs/*": {"rule": "librarian/docs"}},
			"prompts": {"sum": {"rule": "librarian/sum"}},
			"tools": {"find": {"rule": "librarian/find"}},
		},
		"all": {"every_resource": {"rule": "librarian/*"}, "every_prompt": {"rule": "librarian/*p"}},
	}},
	"loose": {"servers": {"mail": {"tools": {"read": {"rule": "loose/read"}}}}},
}

decide(kind, name, server, tool) := ask({"kind": kind, "name": name, "action": "tools/call", "server": server, "tool": tool})

ask(question) := answer if {
	answer := access.decision with input as question
		with data.users as users
		with data.clients as clients
		with data.patterns as patterns
		with data.groups as groups
		with data.roles as roles
}

member(kind, name, of) := ask({"kind": kind, "name": name, "groups": of, "action": "tools/call", "server": "mail", "tool": "read"})

matching(kind, name, tool, those) := ask({"kind": kind, "name": name, "patterns": those, "action": "tools/call", "server": "mail", "tool": tool})

pay(claims) := ask({"kind": "user", "name": "x", "groups": ["finance"], "claims": claims, "action": "tools/call", "server": "bank", "tool": "pay"})

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

test_pattern if matching("client", "spiffe://a/x/z", "send", ["spiffe://a/x/*"]) == allowed("operator/send")

test_pattern_beside_the_name if matching("client", "spiffe://a/x/y", "send", ["spiffe://a/*/y", "spiffe://a/x/*"]) == allowed("operator/send")

test_pattern_takes_nothing_from_the_name if matching("client", "spiffe://a/x/y", "read", ["spiffe://a/*/y"]) == allowed("reader/read")

test_other_pattern if matching("client", "spiffe://a/x/z", "read", ["spiffe://a/*/z"]) == denied("no_role")

test_no_patterns if matching("client", "spiffe://a/x/z", "read", []) == denied("no_role")

test_patterns_that_are_no_list if matching("client", "spiffe://a/x/z", "read", "spiffe://a/x/*") == denied("no_role")

test_role_of_a_pattern_keeps_its_conditions if matching("client", "spiffe://a/z/y", "read", ["spiffe://a/*/y"]) == denied("no_role")

test_user_matches_no_pattern if matching("user", "spiffe://a/x/z", "read", ["spiffe://a/x/*"]) == denied("no_role")

test_client_called_as_a_pattern if decide("client", "spiffe://a/x/*", "mail", "read") == denied("no_role")

test_pattern_is_not_the_client_of_that_name if matching("client", "x", "send", ["agent"]) == denied("no_role")

test_unknown_kind if decide("robot", "alice", "mail", "read") == denied("no_role")

test_unknown_kind_matches_no_pattern if matching("robot", "spiffe://a/x/z", "read", ["spiffe://a/x/*"]) == denied("no_role")

test_role_that_does_not_exist if decide("user", "eve", "mail", "read") == denied("no_role")

test_role_without_when_in_the_data if decide("user", "mallory", "mail", "read") == denied("no_role")

test_group if member("user", "x", ["other", "staff"]) == allowed("reader/read")

test_other_group if member("user", "x", ["other"]) == denied("no_role")

test_workload_in_a_group if member("client", "x", ["staff"]) == denied("no_role")

test_user_is_not_the_group_of_that_name if member("user", "alice", []) == allowed("reader/read")

test_group_is_not_the_user_of_that_name if member("user", "x", ["bob"]) == denied("no_role")

test_groups_that_are_no_list if member("user", "x", "staff") == denied("no_role")

test_all_conditions_hold if pay({"department": "finance", "level": 1, "staff": true, "more": 1}) == allowed("payer/pay")

test_one_of_several_values if pay({"department": "finance", "level": "2", "staff": true}) == allowed("payer/pay")

test_one_of_a_list if pay({"department": ["x", "finance"], "level": 1.0, "staff": true}) == allowed("payer/pay")

test_one_condition_does_not_hold if pay({"department": "sales", "level": 1, "staff": true}) == denied("no_role")

test_one_claim_is_absent if pay({"department": "finance", "level": 1}) == denied("no_role")

test_text_is_not_a_number if pay({"department": "finance", "level": "1", "staff": true}) == denied("no_role")

test_number_is_not_text if pay({"department": "finance", "level": 2, "staff": true}) == denied("no_role")

test_text_is_not_a_boolean if pay({"department": "finance", "level": 1, "staff": "true"}) == denied("no_role")

test_object_is_not_a_list if pay({"department": {"a": "finance"}, "level": 1, "staff": true}) == denied("no_role")

test_no_claims if pay({}) == denied("no_role")

read(server, uri, prefixes) := ask({"kind": "user", "name": "lena", "action": "resources/read", "server": server, "resource": uri, "resource_prefixes": prefixes})

get(server, prompt) := ask({"kind": "user", "name": "lena", "action": "prompts/get", "server": server, "prompt": prompt})

test_resource if read("docs", "config://app", []) == allowed("librarian/app")

test_resource_below_a_prefix if read("docs", "file:///docs/a", ["file:///docs/*"]) == allowed("librarian/docs")

test_resource_below_another_prefix if read("docs", "file:///other/a", ["file:///other/*"]) == denied("not_granted")

test_resource_that_matches_no_prefix if read("docs", "file:///docs/../a", []) == denied("not_granted")

test_prefixes_that_are_no_list if read("docs", "file:///docs/a", "file:///docs/*") == denied("not_granted")

test_template_is_not_the_empty_resource if read("docs", "", []) == denied("not_granted")

test_every_resource if read("all", "x", []) == allowed("librarian/*")

test_prompt if get("docs", "sum") == allowed("librarian/sum")

test_other_prompt if get("docs", "find") == denied("not_granted")

test_every_prompt if get("all", "x") == allowed("librarian/*p")

test_prompt_is_no_tool if decide("user", "lena", "docs", "sum") == denied("not_granted")

test_every_prompt_is_no_tool if decide("user", "lena", "all", "x") == denied("not_granted")

test_tool_beside_them if decide("user", "lena", "docs", "find") == allowed("librarian/find")

test_session if access.decision == allowed("session") with input as {"action": "session"}

test_unknown_action if {
	access.decision == denied("unknown_action") with input as {"action": "x", "kind": "user", "name": "bob", "server": "files", "tool": "y"}
		with data.users as users
		with data.roles as roles
}

test_empty_input_is_not_allowed if not access.decision.allow with input as {}

test_no_data if access.decision == denied("no_role") with input as {"action": "tools/call", "kind": "user", "name": "bob", "server": "mail", "tool": "read"}

# What rules ask for. Each atom is as access.yaml compiles to it.

atom(kind, rank, more) := object.union({"is": kind, "rank": rank, "path": "p", "text": kind}, more)

asks(opens, calls, needs) := {"open": opens, "call": calls, "needs": needs}

grant(conditions) := {"rule": "roles.r.servers.s.tools.t", "guarded": true, "asks": conditions}

asking(conditions, question) := answer if {
	answer := access.decision with input as object.union({"kind": "user", "name": "ann", "action": "tools/call", "server": "s", "tool": "t", "arguments": {}}, question)
		with data.users as {"ann": {"r": true}}
		with data.roles as {"r": {"when": {}, "servers": {"s": {"tools": {"t": grant(conditions)}}}}}
}

on_argument(condition, question) := asking(asks([], [atom(condition.is, 4, object.union({"name": "x"}, condition))], []), question).reason

test_hours_open if asking(asks([atom("hours", 5, {"name": "office"})], [], []), {"hours": ["lunch", "office"]}).allow

test_hours_closed if asking(asks([atom("hours", 5, {"name": "office"})], [], []), {"hours": ["lunch"]}) == {"allow": false, "reason": "hours", "rule": "roles.r.servers.s.tools.t", "detail": "hours"}

test_hours_without_a_time if asking(asks([atom("hours", 5, {"name": "office"})], [], []), {}).reason == "hours"

test_claim_of_a_rule if asking(asks([atom("when", 6, {"claim": "c", "values": [1]})], [], []), {"claims": {"c": 2}}).reason == "condition"

test_max if on_argument({"is": "max", "bound": 3}, {"arguments": {"x": 3}}) == "allowed"

test_over_max if on_argument({"is": "max", "bound": 3}, {"arguments": {"x": 4}}) == "argument"

test_max_of_text if on_argument({"is": "max", "bound": 3}, {"arguments": {"x": "1"}}) == "argument"

test_max_of_a_boolean if on_argument({"is": "max", "bound": 3}, {"arguments": {"x": true}}) == "argument"

test_max_of_a_list if on_argument({"is": "max", "bound": 3}, {"arguments": {"x": [1, 4]}}) == "argument"

test_max_of_no_element if on_argument({"is": "max", "bound": 3}, {"arguments": {"x": []}}) == "argument"

test_max_of_nothing if on_argument({"is": "max", "bound": 3}, {"arguments": {}}) == "argument"

test_optional_argument if on_argument({"is": "max", "bound": 3, "optional": true}, {"arguments": {}}) == "allowed"

test_optional_argument_that_is_false if on_argument({"is": "max", "bound": 3, "optional": true}, {"arguments": {"x": false}}) == "argument"

test_doubtful_argument if on_argument({"is": "max", "bound": 3, "optional": true}, {"arguments": {"X": 9}, "argument_doubts": {"x": "case"}}) == "argument"

test_hosts if on_argument({"is": "domains", "among": {"*.a": true}}, {"arguments": {"x": ["b.a"]}, "argument_hosts": {"x": [["b.a", "*.a"]]}}) == "allowed"

test_one_of_several_hosts if on_argument({"is": "domains", "among": {"*.a": true}}, {"arguments": {"x": ["b.a", "c"]}, "argument_hosts": {"x": [["b.a", "*.a"], ["c"]]}}) == "argument"

test_hosts_that_nobody_knows if on_argument({"is": "domains", "among": {"*.a": true}}, {"arguments": {"x": "?"}, "argument_hosts": {}}) == "argument"

test_who_only_looks_has_no_arguments if on_argument({"is": "max", "bound": 3}, {"visible": true}) == "allowed"

test_who_only_looks_needs_nothing if asking(asks([], [], [atom("bound", 3, {})]), {"visible": true}).allow

test_who_only_looks_has_hours if asking(asks([atom("hours", 5, {"name": "office"})], [], []), {"visible": true, "hours": []}).reason == "hours"

test_key_was_not_proven if asking(asks([], [], [atom("bound", 3, {})]), {"bound": false}).reason == "sender_constraint_required"

test_key_was_proven if asking(asks([], [], [atom("bound", 3, {})]), {"bound": true}).allow

test_login_of_another_kind if asking(asks([], [], [atom("acr", 2, {"among": {"mfa": true}})]), {"acr": "pwd"}).needs == {"acr": ["mfa"]}

test_two_kinds_of_login if asking(asks([], [], [atom("acr", 2, {"among": {"mfa": true, "otp": true}}), atom("acr", 2, {"among": {"mfa": true}})]), {"acr": "otp"}).needs == {"acr": ["mfa"]}

test_login_that_is_old if asking(asks([], [], [atom("max_age", 2, {"max_age_s": 60}), atom("max_age", 2, {"max_age_s": 90})]), {"time_ns": 161000000000, "auth_time": 100}).needs == {"max_age_s": 60}

test_login_that_is_new if asking(asks([], [], [atom("max_age", 2, {"max_age_s": 60})]), {"time_ns": 160000000000, "auth_time": 100}).allow

test_login_of_the_future if asking(asks([], [], [atom("max_age", 2, {"max_age_s": 60})]), {"time_ns": 100000000000, "auth_time": 200}).reason == "step_up_required"

boss := atom("approval", 1, {"by": ["boss"], "within_s": 60})

test_approval_is_needed if asking(asks([], [], [boss]), {}).needs == {"by": [["boss"]], "rule": "roles.r.servers.s.tools.t", "within_s": 60}

test_approval_was_given if asking(asks([], [], [boss]), {"rule": "roles.r.servers.s.tools.t"}).allow

test_approval_of_another_rule if asking(asks([], [], [boss]), {"rule": "roles.q.servers.s.tools.t"}).reason == "approval_required"

test_the_worst_that_is_missing_is_the_reason if asking(asks([], [], [boss, atom("bound", 3, {})]), {}).reason == "sender_constraint_required"

test_observe_mode_leaves_out_what_takes_away if asking(asks([atom("hours", 5, {"name": "office"})], [atom("max", 4, {"name": "x", "bound": 1})], []), {"observe": true}).allow

test_observe_mode_leaves_what_is_needed if asking(asks([], [atom("max", 4, {"name": "x", "bound": 1})], [boss]), {"observe": true}).reason == "approval_required"

denying(denial, question) := answer if {
	answer := access.decision with input as object.union({"kind": "user", "name": "ann", "action": "tools/call", "server": "s", "tool": "t"}, question)
		with data.users as {"ann": {"r": true, "deny.d": true}, "bob": {"r": true}}
		with data.roles as {"r": {"when": {}, "servers": {"s": {"every_tool": grant(asks([], [], []))}}}}
		with data.denials as {"s": {"tools": {"t": [object.union({"rule": "deny.d"}, denial)]}}}
}

test_denial if denying({}, {}) == {"allow": false, "reason": "denied", "rule": "deny.d"}

test_denial_of_another_tool if denying({}, {"tool": "u"}).allow

test_denial_of_those_it_names if denying({"who": true}, {}).reason == "denied"

test_denial_of_others if denying({"who": true}, {"name": "bob"}).allow

test_denial_in_its_hours if denying({"hours": "night"}, {"hours": ["night"]}).reason == "denied"

test_denial_out_of_its_hours if denying({"hours": "night"}, {"hours": []}).allow

test_denial_in_no_time if denying({"hours": "night"}, {}).reason == "denied"

test_person_of_a_claim_value if access.decision.allow with input as {"kind": "user", "name": "x", "action": "tools/call", "server": "s", "tool": "t", "claim_values": ["c=1"]}
	with data.claims as {"c=1": {"r": true}}
	with data.roles as {"r": {"when": {}, "servers": {"s": {"tools": {"t": {"rule": "r/t"}}}}}}

test_workload_of_a_claim_value if access.decision == denied("no_role") with input as {"kind": "client", "name": "x", "action": "tools/call", "server": "s", "tool": "t", "claim_values": ["c=1"]}
	with data.claims as {"c=1": {"r": true}}
	with data.roles as {"r": {"when": {}, "servers": {"s": {"tools": {"t": {"rule": "r/t"}}}}}}

test_own_rego_denies if access.decision.reason == "denied_by_rego" with input as {"kind": "user", "name": "alice", "action": "tools/call", "server": "mail", "tool": "read"}
	with data.users as users
	with data.roles as roles
	with data.wicketgate.deny.deny as {"no"}
