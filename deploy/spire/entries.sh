#!/bin/sh
# entries.sh: who is who in example.org. Run it on the SPIRE server's machine, as a user
# who may use its socket. It can be run again: entries become what is said here. One that
# is taken out here stays until spire-server entry delete -entryID ID.
# Lines that begin with # and no space, or two, are optional.
set -eu
socket=/run/spire/server/api.sock
domain=spiffe://example.org

# The machine that the workloads are on, as its agent joined (agent.conf). An entry is for
# one machine: nobody on another can have the SVID, whatever user they are there.
node=$domain/node/one

# entry ID OPTION...: make the entry, or change it.
entry() {
  id=$1
  shift
  verb=update
  spire-server entry show -socketPath "$socket" -entryID "$id" >/dev/null 2>&1 || verb=create
  spire-server entry $verb -socketPath "$socket" -entryID "$id" -parentID "$node" "$@"
}

# partner DOMAIN URL FILE: fetch the bundle of another trust domain from URL, now and
# whenever it changes. Its server is first known by the bundle in FILE, which its operators
# hand over (spire-server bundle show -format spiffe); what was fetched since is newer.
partner() {
  verb=update known=
  if ! spire-server federation show -socketPath "$socket" -trustDomain "$1" >/dev/null 2>&1; then
    verb=create known="-trustDomainBundlePath $3 -trustDomainBundleFormat spiffe"
  fi
  spire-server federation $verb -socketPath "$socket" -trustDomain "$1" -bundleEndpointURL "$2" \
    -bundleEndpointProfile https_spiffe -endpointSpiffeID "spiffe://$1/spire/server" $known
  spire-server federation refresh -socketPath "$socket" -id "spiffe://$1"
}

# Only who federates with partner.example gets its bundle, and so can believe its
# workloads. That is Wicketgate: ours need not believe one another's friends. Theirs need
# our bundle if Wicketgate shows its SVID: the federation block of server.conf.
federates=
#partner partner.example https://spire.partner.example:8443 /etc/spire/partner.example.json
#federates="-federatesWith spiffe://partner.example"

# Wicketgate, as itself to workloads, to MCP servers and to a remote authorization server.
# The DNS name is the issuer's, for clients who know it by that name. An hour, not the 10
# minutes of the others: what people do goes on while SPIRE is away for half an hour.
entry wicketgate -spiffeID $domain/wicketgate -selector unix:user:wicketgate \
  -dns mcp.example.com -x509SVIDTTL 3600 $federates

# Agents, each with a user of its own: whoever is the user is the agent. Wicketgate's
# configuration and access.yaml can name all of them as spiffe://example.org/agent/*.
entry agent-billing -spiffeID $domain/agent/billing -selector unix:user:billing-agent
entry agent-report -spiffeID $domain/agent/report -selector unix:user:report-agent

# An MCP server, so that Wicketgate knows what it talks to, and it knows Wicketgate.
entry mcp-mail -spiffeID $domain/mcp/mail -selector unix:user:mcp-mail -dns mail.internal.example.com
