# METADATA
# title: What access.yaml grants
# description: |
#   The one question of Wicketgate (AuthZEN §5): may this caller do this action
#   with this tool, resource or prompt of this server? Every step is a look-up by key,
#   so the cost of an answer does not grow with the number of people, groups or tools.
#
#   input: kind ("user" or "client"), name, patterns (of data, those that a workload
#          matches), groups, claims, claim_values (of data, those that the caller has),
#          acr, auth_time, bound, action, server, tool, resource (a URI),
#          resource_prefixes (of data, those that the URI or the template begins with),
#          resource_marks (of the facts and denials, those that it may be meant by),
#          prompt, arguments, argument_hosts and argument_paths (what each element is
#          called by), argument_doubts (those that a server may read otherwise), visible
#          (the question is whether the caller may know of it), rule (for which a call
#          was approved), hours (the names of those open), time_ns, observe (the question
#          is only what is still missing in observe mode).
#   data:  users, clients, patterns, groups and claims (name to roles, and denials), roles
#          (role to its conditions, and to servers to tools, resources and prompts), facts
#          (server to what holds whoever grants it), risks, denials, approvals (rule to
#          the grant that may ask for one), compiled from access.yaml.
package wicketgate.access

# Most rules ask for nothing, and nothing else holds on their server: what they grant is
# decided first. A rule that is guarded is weighed below.
decision := {"allow": true, "reason": "allowed", "rule": first[0]} if {
	first := min(named)
	not first[2].guarded
	not data.wicketgate.deny
} else := {"allow": true, "reason": "allowed", "rule": min(quick)} if {
	count(quick) > 0
} else := {"allow": true, "reason": "allowed", "rule": "session"} if {
	input.action == "session"
} else := approving if {
	input.action == "approvals/decide"
} else := {"allow": false, "reason": "unknown_action", "rule": ""} if {
	not input.action in {"tools/call", "resources/read", "prompts/get"}
} else := granted if {
	count(grants) > 0
} else := {"allow": false, "reason": "not_granted", "rule": ""} if {
	count(roles) > 0
} else := {"allow": false, "reason": "no_role", "rule": ""}

# Of the rules that ask for conditions only those that hold, of which all conditions were
# put together when they were compiled.
quick contains rule if {
	not data.wicketgate.deny
	undenied
	some [rule, _, grant] in named
	not lacking(data.together[grant.together], rule)
	grant.together
}

undenied if not data.denials[input.server]

undenied if count(denials) == 0

lacking(conditions, rule) if {
	not input.visible
	some condition in conditions
	not holds(condition.is, condition, rule)
}

lacking(conditions, rule) if {
	input.visible
	some condition in conditions
	condition.rank > 4
	not holds(condition.is, condition, rule)
}

# Some role grants it: whether a denial takes it away, a grant holds wholly, or what the
# closest one lacks.
granted := {"allow": false, "reason": "denied_by_rego", "rule": concat("", ["wicketgate.deny: ", substring(min(custom), 0, 1000)])} if {
	count(custom) > 0
} else := {"allow": false, "reason": "denied", "rule": min(denials)} if {
	count(denials) > 0
} else := object.union_n([{"allow": true, "reason": "allowed", "rule": min(holding)}, risk_part(min(holding)), terms_part]) if {
	count(holding) > 0
} else := object.union_n([
	{"allow": false, "reason": reasons[closest.rank], "rule": closest.rule, "detail": concat("; ", closest.texts)},
	risk_part(closest.rule),
	needs_part,
])

# Denials of a person's own Rego.
custom contains text if {
	not input.observe
	some text in data.wicketgate.deny.deny
}

denials contains denial.rule if {
	some denial in data.denials[input.server].tools[input.tool]
	applies(denial)
}

denials contains denial.rule if {
	input.action == "tools/call"
	some denial in data.denials[input.server].tools["*"]
	applies(denial)
}

denials contains denial.rule if {
	some mark in input.resource_marks
	some denial in data.denials[input.server].resources[mark]
	applies(denial)
}

denials contains denial.rule if {
	some denial in data.denials[input.server].prompts[input.prompt]
	applies(denial)
}

denials contains denial.rule if {
	input.action == "prompts/get"
	some denial in data.denials[input.server].prompts["*"]
	applies(denial)
}

# Where the time is not known, a denial that has hours applies.
applies(denial) if {
	not input.observe
	not others_only(denial)
	not rests(denial)
}

others_only(denial) if {
	denial.who
	not denial.rule in assigned
}

rests(denial) if {
	is_array(input.hours)
	not denial.hours in input.hours
	denial.hours
}

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
	input.kind == "user"
	some value in input.claim_values
	some role, _ in data.claims[value]
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
		claim_holds(claim, values)
	}
}

# A claim holds if it, or one of the list that it is, equals one of the values. An
# absent claim does not. Text is not a number: "1" is not 1.
claim_holds(claim, values) if input.claims[claim] in values

claim_holds(claim, values) if {
	is_array(input.claims[claim])
	some value in input.claims[claim]
	value in values
}

# The rules that grant the call, each with its role. A condition belongs into the bodies of
# lacks, where it can only take a grant away: as a rule of its own it would make one. Each
# names its action, so that a tool's grant is never a prompt's of that name.
named contains [grant.rule, role, grant] if {
	input.action == "tools/call"
	some role in roles
	grant := data.roles[role].servers[input.server].tools[input.tool]
}

named contains [grant.rule, role, grant] if {
	input.action == "tools/call"
	some role in roles
	grant := data.roles[role].servers[input.server].every_tool
}

named contains [grant.rule, role, grant] if {
	input.action == "resources/read"
	some role in roles
	grant := data.roles[role].servers[input.server].resources[input.resource]
}

named contains [grant.rule, role, grant] if {
	input.action == "resources/read"
	some prefix in input.resource_prefixes
	some role in roles
	grant := data.roles[role].servers[input.server].resources[prefix]
}

named contains [grant.rule, role, grant] if {
	input.action == "resources/read"
	some role in roles
	grant := data.roles[role].servers[input.server].every_resource
}

named contains [grant.rule, role, grant] if {
	input.action == "prompts/get"
	some role in roles
	grant := data.roles[role].servers[input.server].prompts[input.prompt]
}

named contains [grant.rule, role, grant] if {
	input.action == "prompts/get"
	some role in roles
	grant := data.roles[role].servers[input.server].every_prompt
}

# What an approver decides on, or what names the call. In observe mode a call that nothing
# names still needs what holds whoever grants it.
grants := {[input.rule, waits.role, waits.grant]} if {
	input.action == "approvals/decide"
	waits := data.approvals[input.rule]
	waits.server == input.server
} else := named if {
	count(named) > 0
} else := {[concat(".", ["servers", input.server]), "", {}]} if {
	input.observe
} else := set()

# The conditions that a rule is subject to: its own, those of its role, of what is called
# whoever grants it, and of the risk.
asked[rule] contains grant.asks if some [rule, _, grant] in grants

asked[rule] contains data.roles[role].asks if some [rule, role, _] in grants

asked[rule] contains fact.asks if {
	some [rule, _, _] in grants
	some fact in facts
}

asked[rule] contains data.facts[input.server].all.asks if some [rule, _, _] in grants

asked[rule] contains data.risks[risk] if {
	some [rule, role, grant] in grants
	some risk in risks_of(role, grant)
}

facts contains exact_fact

facts contains fact if some fact in wide_facts

exact_fact := data.facts[input.server].tools[input.tool]

exact_fact := data.facts[input.server].resources[input.resource]

exact_fact := data.facts[input.server].prompts[input.prompt]

wide_facts contains data.facts[input.server].tools["*"] if input.tool != ""

wide_facts contains data.facts[input.server].resources[mark] if {
	some mark in input.resource_marks
	mark != input.resource
}

wide_facts contains data.facts[input.server].prompts["*"] if input.prompt != ""

# The risk of what is called, by whoever says it closest to it. Several folders of one
# resource may each say one.
risks_of(role, grant) := {exact_fact.risk} if {
	exact_fact.risk
} else := wide if {
	wide := {fact.risk | some fact in wide_facts}
	count(wide) > 0
} else := {grant.risk} if {
	grant.risk
} else := {data.roles[role].risk} if {
	data.roles[role].risk
} else := {data.facts[input.server].all.risk} if {
	data.facts[input.server].all.risk
} else := set()

# What of a rule's conditions does not hold. Who only asks whether it is there does not call
# it yet; in observe mode what only takes away is left out.
lacks[rule] contains condition if {
	not input.observe
	some rule, conditions in asked
	some asks in conditions
	some condition in asks.open
	not holds(condition.is, condition, rule)
}

lacks[rule] contains condition if {
	not input.observe
	not input.visible
	some rule, conditions in asked
	some asks in conditions
	some condition in asks.call
	not holds(condition.is, condition, rule)
}

lacks[rule] contains condition if {
	not input.visible
	some rule, conditions in asked
	some asks in conditions
	some condition in asks.needs
	not holds(condition.is, condition, rule)
}

holding contains rule if {
	some [rule, _, _] in grants
	not lacks[rule]
}

# The rule that lacks least: its worst condition is the least far away.
closest := {"rank": nearest[0], "rule": nearest[1], "texts": texts} if {
	nearest := min({[max({condition.rank | some condition in lacking}), rule] | some rule, lacking in lacks})
	texts := {condition.text | some condition in lacks[nearest[1]]; condition.rank == nearest[0]}
}

# By rank.
reasons := ["", "approval_required", "step_up_required", "sender_constraint_required", "argument", "hours", "condition"]

holds("when", condition, _) if claim_holds(condition.claim, condition.values)

holds("hours", condition, _) if condition.name in input.hours

holds("acr", condition, _) if condition.among[input.acr]

holds("max_age", condition, _) if recent(condition.max_age_s)

holds("bound", _, _) if input.bound == true

holds("approval", _, rule) if input.rule == rule

holds("max", condition, _) if {
	every value in elements(condition) {
		is_number(value)
		value <= condition.bound
	}
}

holds("min", condition, _) if {
	every value in elements(condition) {
		is_number(value)
		value >= condition.bound
	}
}

holds("enum", condition, _) if {
	every value in elements(condition) {
		value in condition.values
	}
}

holds("pattern", condition, _) if {
	every value in elements(condition) {
		is_string(value)
		regex.match(condition.pattern, value)
	}
}

holds("max_length", condition, _) if {
	every value in elements(condition) {
		is_string(value)
		count(value) <= condition.bound
	}
}

holds("claim", condition, _) if {
	own := own_values(condition.claim)
	every value in elements(condition) {
		value in own
	}
}

holds("domains", condition, _) if {
	not input.argument_doubts[condition.name]
	every names in input.argument_hosts[condition.name] {
		some name in names
		condition.among[name]
	}
}

holds("paths", condition, _) if {
	not input.argument_doubts[condition.name]
	every names in input.argument_paths[condition.name] {
		some name in names
		condition.among[name]
	}
}

holds(_, condition, _) if {
	condition.optional
	not condition.name in object.keys(arguments)
	not input.argument_doubts[condition.name]
}

# The elements of an argument, or the one that it is. An empty list has nothing that could
# hold, and may mean everything to a server.
elements(condition) := [value] if {
	not input.argument_doubts[condition.name]
	value := arguments[condition.name]
	not is_array(value)
} else := values if {
	not input.argument_doubts[condition.name]
	values := arguments[condition.name]
	count(values) > 0
}

# A read of a resource has none.
arguments := input.arguments

arguments := {} if {
	input.action == "resources/read"
	not input.arguments
}

# What the caller's claim is, or has; sub is who they are.
own_values("sub") := [input.name]

own_values(claim) := values if {
	claim != "sub"
	values := input.claims[claim]
	is_array(values)
} else := [value] if {
	claim != "sub"
	value := input.claims[claim]
}

# A minute is for clocks that differ.
recent(seconds) if {
	age := input.time_ns - (input.auth_time * 1000000000)
	age <= seconds * 1000000000
	age >= -60000000000
}

risk_part(rule) := {"risk": min(risks)} if {
	some [of, role, grant] in grants
	of == rule
	risks := risks_of(role, grant)
	count(risks) > 0
} else := {}

# What is asked of a call that is allowed, for each rule that allows it.
terms_part := {"terms": [terms_of(rule) | some rule in holding]} if {
	not input.visible
	some rule in holding
	some asks in asked[rule]
	asks.terms
} else := {}

terms_of(rule) := {
	"limits": [limit_of(limit, rule) | some asks in asked[rule]; some limit in asks.terms.limits],
	"filters": [
	{"at": filter.at, "field": filter.field, "in": passing(filter)} |
		some asks in asked[rule]
		some filter in asks.terms.filters
	],
	"redact": [class | some class in {class | some asks in asked[rule]; some class in asks.terms.redact}],
}

# Those of one role count together, and are not those of another.
limit_of(limit, rule) := object.union(limit, {"id": concat(" of ", [limit.id, role])}) if {
	limit.by == "role"
	some [of, role, _] in grants
	of == rule
} else := limit

passing(filter) := filter["in"]

passing(filter) := own_values(filter.claim) if {
	not filter["in"]
} else := [] if {
	not filter["in"]
}

# What is missing of the closest rule, where the caller can get it.
needs_part := {"needs": login_of({condition |
	some asks in asked[closest.rule]
	some condition in asks.needs
	condition.rank == 2
})} if {
	closest.rank == 2
} else := {"needs": object.union(
	{"rule": closest.rule, "by": [condition.by | some condition in waiting], "within_s": min({condition.within_s | some condition in waiting})},
	login_of(waiting),
)} if {
	closest.rank == 1
	waiting := approvals(closest.rule)
} else := {}

approvals(rule) := {condition |
	some asks in asked[rule]
	some condition in asks.needs
	condition.is == "approval"
}

# One login that all of the conditions take.
login_of(conditions) := object.union(acr_of(conditions), age_of(conditions))

acr_of(conditions) := {"acr": [acr | some acr in intersection(sets)]} if {
	sets := {among | some condition in conditions; among := object.keys(condition.among)}
	count(sets) > 0
} else := {}

age_of(conditions) := {"max_age_s": min(ages)} if {
	ages := {condition.max_age_s | some condition in conditions}
	count(ages) > 0
} else := {}

# Whether a person may approve what waits for the rule: they have one role of each of its
# lists, and logged in as it asks of them.
approving := {"allow": false, "reason": "not_granted", "rule": ""} if {
	count(approvals(input.rule)) == 0
} else := {"allow": false, "reason": "no_role", "rule": ""} if {
	some condition in approvals(input.rule)
	not approver(condition)
} else := {"allow": false, "reason": "step_up_required", "rule": input.rule, "needs": login_of(approvals(input.rule))} if {
	some condition in approvals(input.rule)
	not logged_in(condition)
} else := {"allow": true, "reason": "allowed", "rule": input.rule}

approver(condition) if {
	input.kind == "user"
	some role in condition.by
	role in roles
	every open in object.get(data.roles[role], ["asks", "open"], []) {
		holds(open.is, open, "")
	}
}

logged_in(condition) if {
	acr_suits(condition)
	age_suits(condition)
}

acr_suits(condition) if not condition.among

acr_suits(condition) if condition.among[input.acr]

age_suits(condition) if not condition.max_age_s

age_suits(condition) if recent(condition.max_age_s)
