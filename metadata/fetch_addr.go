package metadata

import "net/netip"

// globalUnicast is all of IPv6 that is handed out (RFC 4291 §2.4). What is outside
// is special or unknown, and refused without being listed: unspecified, loopback,
// IPv4-mapped and -compatible, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), discard,
// SRv6, unique local, link local, site local, multicast.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// special are the special-purpose blocks of RFC 6890 and of the IANA registries
// that follow it, but for those that globalUnicast leaves out. Also those that the
// registries call reachable but where no web server of a client is.
var special = prefixes(
	"0.0.0.0/8",        // this network; 0.0.0.0 is this machine on many systems
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // shared by carriers (RFC 6598); some clouds' inner services
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // in no registry: the platform's own address in every Azure network
	"169.254.0.0/16",   // link local; 169.254.169.254 has a cloud machine's credentials
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments; some clouds' inner services
	"192.0.2.0/24",     // documentation
	"192.31.196.0/24",  // AS112 (RFC 7535)
	"192.52.193.0/24",  // AMT (RFC 7450)
	"192.88.99.0/24",   // 6to4 relays (RFC 7526)
	"192.168.0.0/16",   // private
	"192.175.48.0/24",  // AS112 (RFC 7534)
	"198.18.0.0/15",    // benchmarking
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, and broadcast

	"2001::/23",         // protocol assignments: Teredo, benchmarking, AMT, ORCHID and more
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4: carries any IPv4 address
	"2620:4f:8000::/48", // AS112 (RFC 7534)
	"3fff::/20",         // documentation (RFC 9637)
)

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// public reports whether a is an address of the open Internet. An IPv6 address
// with a zone is not: no prefix contains it.
func public(a netip.Addr) bool {
	if !a.Is4() && !globalUnicast.Contains(a) {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
