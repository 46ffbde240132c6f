package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// downstream checks where tokens for a server may be exchanged to.
func (c configCheck) downstream() {
	names := map[string]bool{}
	for _, s := range c.s.Servers {
		names[s.Name] = true
	}
	for i, s := range c.s.Servers {
		for j, to := range s.Downstream {
			at := fmt.Sprintf("servers[%d].downstream[%d]", i, j)
			switch {
			case !names[to]:
				c.refuse(at, "%s is %s, which is none of servers", at, shown(to))
			case to == s.Name:
				c.refuse(at, "%s is the server itself, which needs no mention", at)
			case slices.Contains(s.Downstream[:j], to):
				c.refuse(at, "%s is there twice: keep one", at)
			}
		}
		if len(s.Downstream) > 0 {
			if c.s.house.Downstream == nil {
				c.s.house.Downstream = map[string][]string{}
			}
			c.s.house.Downstream[s.Name] = s.Downstream
		}
	}
}

// actsFor checks whose users a client may act for. One that says nothing is noted, too:
// a pattern that names it would speak for it.
func (c configCheck) actsFor(at string, cl ClientConfig, id identity.ClientID) {
	if len(cl.ActsFor) > 0 && !slices.Contains(cl.GrantTypes, oauth.GrantTokenExchange) {
		c.refuse(at+".acts_for", "%s.acts_for is for a client that exchanges tokens: add %s to its grant_types", at, oauth.GrantTokenExchange)
	}
	p := exchange.Principals{All: slices.Contains(cl.ActsFor, "*")}
	if p.All && len(cl.ActsFor) > 1 {
		c.refuse(at+".acts_for", `%s.acts_for has "*", which is everybody, and others: keep one or the other`, at)
		return
	}
	for i, name := range cl.ActsFor {
		field := fmt.Sprintf("%s.acts_for[%d]", at, i)
		other, err := identity.ParseClientID(name)
		switch {
		case p.All:
			c.note("client %s may act for the users of every client (acts_for): whoever is it, and has any access token, can", id)
		case err != nil:
			c.refuse(field, "%s is %s: %v", field, shown(name), err)
		case !namesSomebody(name):
			c.refuse(field, "%s is %s, which no client can be: %v", field, shown(name), identity.ErrBadPattern)
		case other == id:
			c.refuse(field, "%s is the client itself, which needs no mention", field)
		}
		p.Clients = append(p.Clients, other)
	}
	if c.s.house.ActsFor == nil {
		c.s.house.ActsFor = map[identity.ClientID]exchange.Principals{}
	}
	c.s.house.ActsFor[id] = p
}

// namesSomebody refuses what looks like SPIFFE IDs or several clients, and is no pattern.
func namesSomebody(name string) bool {
	_, err := identity.ParsePattern(name)
	return err == nil || !strings.Contains(name, "*") && !strings.HasPrefix(strings.ToLower(name), "spiffe:")
}
