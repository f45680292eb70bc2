package network

import (
	"net/netip"
	"testing"
)

func TestOf(t *testing.T) {
	for text, want := range map[string][Levels]string{
		"192.0.2.77":               {"192.0.2.77/32", "", "192.0.2.0/24"},
		"::ffff:192.0.2.77":        {"192.0.2.77/32", "", "192.0.2.0/24"},
		"2001:db8:1:2345:6::7":     {"2001:db8:1:2345::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"},
		"fe80::1%eth0":             {"fe80::/64", "fe80::/56", "fe80::/48"},
		"::1.2.3.4":                {"::/64", "::/56", "::/48"},
		"":                         {"", "", ""},
		"2001:db8:ffff:ffff::ffff": {"2001:db8:ffff:ffff::/64", "2001:db8:ffff:ff00::/56", "2001:db8:ffff::/48"},
	} {
		var a netip.Addr
		if text != "" {
			a = netip.MustParseAddr(text)
		}
		for level, prefix := range Of(a) {
			if got := prefix.String(); got != want[level] && (prefix.IsValid() || want[level] != "") {
				t.Errorf("%q, level %d: %s, want %q", text, level, got, want[level])
			}
		}
	}
}

func TestShare(t *testing.T) {
	if Own.Share() != 1 || Site.Share() != 4 || Wide.Share() != 16 {
		t.Errorf("%d, %d, %d", Own.Share(), Site.Share(), Wide.Share())
	}
}
