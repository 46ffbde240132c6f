package main

import (
	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// registry is the protected resources of the upstreams: the public one that
// clients ask for, and the internal one that only the exchanger may aim at.
func registry(cfg houseConfig) (oauth.Resources, map[oauth.Resource]string) {
	var public, internal []oauth.Resource
	servers := map[oauth.Resource]string{}
	for _, u := range cfg.Upstreams {
		public, internal = append(public, u.Resource), append(internal, u.Audience)
		servers[u.Resource] = u.Name
	}
	return withConsole(cfg, oauth.NewResources(public, internal).And(everyServer(cfg))), servers
}

// behind is the same the other way round: which servers an internal resource stands for.
func behind(cfg houseConfig) exchange.Upstreams {
	out := exchange.Upstreams{}
	for _, u := range cfg.Upstreams {
		out[u.Audience] = append(out[u.Audience], u.Resource)
	}
	return out
}

// everyServer is the resource of the endpoint over all servers.
func everyServer(cfg houseConfig) oauth.Resource {
	all, err := oauth.ParseResource(cfg.Issuer + "/mcp")
	if err != nil || len(cfg.Upstreams) == 0 {
		return oauth.Resource{}
	}
	return all
}

// downstream is where tokens may be exchanged to, by public resource.
func downstream(cfg houseConfig) map[oauth.Resource][]oauth.Resource {
	named := map[string]oauth.Resource{}
	for _, u := range cfg.Upstreams {
		named[u.Name] = u.Resource
	}
	edges := map[oauth.Resource][]oauth.Resource{}
	for from, to := range cfg.Downstream {
		for _, name := range to {
			edges[named[from]] = append(edges[named[from]], named[name])
		}
	}
	return edges
}
