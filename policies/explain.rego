# METADATA
# title: What of access.yaml holds for a question
# description: |
#   For people who ask why: it says condition by condition what access.rego decided on,
#   also of roles that the caller does not have. Nothing is decided here.
package wicketgate.explain

import data.wicketgate.access

answer := {
	"assigned": access.assigned,
	"roles": access.roles,
	"applying": access.denials,
	"when": {role: claims | some role, _ in data.roles; claims := {claim | some claim, values in data.roles[role].when; access.claim_holds(claim, values)}},
	"grants": [{"rule": rule, "role": role} | some [rule, role, _] in named],
	"checks": [check | some check in checks],
}

every_role := {role | some role, _ in data.roles}

named := rules if {
	rules := access.named with access.roles as every_role
}

asked := conditions if {
	conditions := access.asked with access.roles as every_role
}

# What a caller is asked who only wants to know whether it is there.
asked_kinds := {"open"} if {
	input.visible
} else := {"open", "call", "needs"}

checks contains {"rule": rule, "condition": condition, "holds": holding(condition, rule)} if {
	some [rule, _, _] in named
	some asks in asked[rule]
	some kind in asked_kinds
	some condition in asks[kind]
}

holding(condition, rule) if {
	access.holds(condition.is, condition, rule)
} else := false
