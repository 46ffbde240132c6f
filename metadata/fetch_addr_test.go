package metadata_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/metadata"
)

// inside has the ends of every block that no client's document is in, by name.
var inside = map[string][]string{
	"this network":               {"0.0.0.0", "0.0.0.1", "0.255.255.255"},
	"private 10/8":               {"10.0.0.0", "10.255.255.255"},
	"carriers' shared 100.64/10": {"100.64.0.0", "100.100.100.200", "100.127.255.255"},
	"loopback":                   {"127.0.0.0", "127.0.0.1", "127.255.255.255"},
	"a cloud's platform":         {"168.63.129.16"},
	"link local":                 {"169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255"},
	"private 172.16/12":          {"172.16.0.0", "172.31.255.255"},
	"protocol assignments":       {"192.0.0.0", "192.0.0.170", "192.0.0.192", "192.0.0.255"},
	"documentation":              {"192.0.2.0", "192.0.2.255", "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255"},
	"AS112":                      {"192.31.196.0", "192.31.196.255", "192.175.48.0", "192.175.48.255"},
	"AMT":                        {"192.52.193.0", "192.52.193.255"},
	"6to4 relays":                {"192.88.99.0", "192.88.99.1", "192.88.99.255"},
	"private 192.168/16":         {"192.168.0.0", "192.168.255.255"},
	"benchmarking":               {"198.18.0.0", "198.19.255.255"},
	"multicast":                  {"224.0.0.0", "224.0.0.251", "239.255.255.255"},
	"reserved":                   {"240.0.0.0", "255.255.255.254"},
	"broadcast":                  {"255.255.255.255"},

	"IPv6 unspecified":              {"::"},
	"IPv6 loopback":                 {"::1"},
	"IPv4-compatible":               {"::7f00:1", "::a00:1", "::5db8:d70e"},
	"IPv4-mapped":                   {"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"},
	"IPv4-translated":               {"::ffff:0:7f00:1"},
	"NAT64":                         {"64:ff9b::7f00:1", "64:ff9b::5db8:d70e", "64:ff9b::ffff:ffff"},
	"local NAT64":                   {"64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"},
	"discard":                       {"100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::"},
	"Teredo":                        {"2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"},
	"IPv6 benchmarking":             {"2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"},
	"IPv6 AMT and AS112":            {"2001:3::1", "2001:4:112::1", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"},
	"ORCHID":                        {"2001:10::", "2001:1f:ffff::", "2001:20::", "2001:2f:ffff::", "2001:30::"},
	"all IPv6 protocol assignments": {"2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"},
	"IPv6 documentation":            {"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"},
	"6to4":                          {"2002::", "2002:7f00:1::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	"IPv6 not handed out":           {"4000::", "5f00::1", "8000::1", "1fff:ffff::1", "200::1", "400::1"},
	"unique local":                  {"fc00::", "fd00:ec2::254", "fd20:ce::254", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	"IPv6 link local":               {"fe80::", "fe80::1", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	"IPv6 zone":                     {"fe80::1%eth0", "2606:4700::1111%eth0", "::1%lo"},
	"site local":                    {"fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	"IPv6 multicast":                {"ff00::", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
}

// A27: TestFetchRefusesNameOfInsideAddress: of this machine, of its network, of the
// cloud it is in, and of what leads there in disguise.
func TestFetchRefusesNameOfInsideAddress(t *testing.T) {
	for name, addrs := range inside {
		t.Run(name, func(t *testing.T) {
			for _, a := range addrs {
				w := newWorld(t, metadata.FetcherConfig{}, says())
				w.dns["client.example."] = [][]string{{a}}
				_ = w.refuses(t, clientURL)
				w.silent(t)
			}
		})
	}
}

// TestFetchRefusesAnswerWithOneInsideAddress, whatever its place among public ones.
func TestFetchRefusesAnswerWithOneInsideAddress(t *testing.T) {
	for name, addrs := range inside {
		t.Run(name, func(t *testing.T) {
			for _, answer := range [][]string{{clientIP, addrs[0]}, {addrs[0], clientIP}, {clientIP, "2606:4700::1111", "1.1.1.1", "1.0.0.1", "9.9.9.9", addrs[0]}} {
				w := newWorld(t, metadata.FetcherConfig{}, says())
				w.dns["client.example."] = [][]string{answer}
				_ = w.refuses(t, clientURL)
				w.silent(t)
			}
		})
	}
}

// TestNeighboursOfInsideBlocksArePublic: the blocks are no larger than they are.
func TestNeighboursOfInsideBlocksArePublic(t *testing.T) {
	for _, s := range strings.Fields(`1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17
		169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.31.195.255 192.31.197.0 192.52.192.255 192.52.194.0
		192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 192.175.47.255 192.175.49.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0
		203.0.112.255 203.0.114.0 223.255.255.255 8.8.8.8 2000:: 2001:200:: 2001:db7:ffff:: 2001:db9:: 2001:4860:4860::8888 2003:: 2606:4700::1111
		2620:4f:7fff:: 2620:4f:8001:: 3ffe:: 3fff:1000::`) {
		if !metadata.Public(netip.MustParseAddr(s)) {
			t.Errorf("%s is not public", s)
		}
	}
}

// A27: TestRebindingIsHarmless: the name is resolved once, and what is dialed is what
// was checked. A second answer that leads inside is never asked for.
func TestRebindingIsHarmless(t *testing.T) {
	w := newWorld(t, metadata.FetcherConfig{}, says())
	w.dns["client.example."] = [][]string{{clientIP}, {"127.0.0.1"}}
	if _, err := w.get(t, clientURL); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"client.example."}, {clientIP + ":443"}}, [][]string{w.asked, w.dialed}); diff != "" {
		t.Errorf("asked and dialed (-want +got):\n%s", diff)
	}
	_ = w.refuses(t, clientURL) // the next fetch sees it, and refuses
}

// TestKernelIsAskedOnlyForCheckedAddresses: the control of the dialer is the last
// to look, should everything before it have failed.
func TestKernelIsAskedOnlyForCheckedAddresses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := netip.MustParseAddrPort(l.Addr().String())
	if conn, err := metadata.NewFetcher(metadata.FetcherConfig{}).Connect(t.Context(), to); err == nil {
		t.Errorf("connected to %s", conn.RemoteAddr())
	}
	conn, err := metadata.NewFetcher(metadata.FetcherConfig{InsecureLoopback: true}).Connect(t.Context(), to)
	if err != nil {
		t.Fatal(err) // or the test above proves nothing
	}
	_ = conn.Close()
	for address, ok := range map[string]bool{clientIP + ":443": true, clientIP + ":80": false, "1.1.1.1:443": false, "127.0.0.1:443": false, "client.example:443": false} {
		if err := metadata.NewFetcher(metadata.FetcherConfig{}).Control(netip.MustParseAddrPort(clientIP+":443"), address); (err == nil) != ok {
			t.Errorf("control of %s: %v", address, err)
		}
	}
}

// TestNextAddressIsTried, IPv4 first, and no more than four of a long answer.
func TestNextAddressIsTried(t *testing.T) {
	w := newWorld(t, metadata.FetcherConfig{}, says())
	w.server.Close()
	w.dns["client.example."] = [][]string{{"2606:4700::1111", "2606:4700::1001", "1.1.1.1", "::ffff:1.0.0.1", "9.9.9.9"}}
	_ = w.refuses(t, clientURL)
	if diff := cmp.Diff([]string{"1.1.1.1:443", "1.0.0.1:443", "9.9.9.9:443", "[2606:4700::1111]:443"}, w.dialed); diff != "" {
		t.Errorf("dialed (-want +got):\n%s", diff)
	}
}
