package client

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// DefaultPort is the port of an address that has none.
const DefaultPort = 7022

// maxHost is the length in bytes of the longest name in the DNS.
const maxHost = 253

// ParseAddress splits HOST[:PORT][#SHA256:…] into the address to dial, always with a port, and the
// fingerprint that pins it, or "".
func ParseAddress(s string) (address, fingerprint string, err error) {
	address, fingerprint, pinned := strings.Cut(s, "#")
	if pinned {
		if err := noiseconn.CheckFingerprint(fingerprint); err != nil {
			return "", "", fmt.Errorf("server address %q: %w", address, err)
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		bare := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
		host, port = bare, strconv.Itoa(DefaultPort)
		if ip, err := netip.ParseAddr(bare); strings.Contains(bare, ":") && (err != nil || strings.Contains(ip.Zone(), ":")) {
			return "", "", fmt.Errorf("server address %q: want HOST:PORT", address)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || !isHost(host) {
		return "", "", fmt.Errorf("server address %q: want HOST:PORT", address)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), fingerprint, nil
}

// isHost says whether s can be a name or an IP address: one that can be shown, remembered and split off again.
func isHost(s string) bool {
	return 1 <= len(s) && len(s) <= maxHost && !strings.ContainsFunc(s, func(r rune) bool {
		return r == utf8.RuneError || r == ' ' || r == '[' || r == ']' || !unicode.IsPrint(r)
	})
}

// CheckName returns a name as a server knows it, or the Rule that it breaks, an ErrNameInvalid: for apps that want to know
// before they ask for a password. Register and Login do the same.
func CheckName(typed string) (string, error) {
	name, err := credential.PrepareName(typed)
	return name, broken(ErrNameInvalid, err)
}

// preparePassword returns the bytes of a password, or the Rule that it breaks wherever it is used. The caller clears them.
func preparePassword(typed string) ([]byte, error) {
	prepared, err := credential.PreparePassword(typed)
	return prepared, broken(ErrPasswordPolicy, err)
}

// prepare is both: what every attempt begins with.
func prepare(name, password string) (string, []byte, error) {
	name, err := CheckName(name)
	if err != nil {
		return "", nil, err
	}
	prepared, err := preparePassword(password)
	return name, prepared, err
}

// checkPassword holds a password that is to be set against the server's policy.
func checkPassword(p wire.Policy, name string, prepared []byte) error {
	err := credential.Policy{
		Kind: credential.PolicyKind(p.Kind), MinLength: p.MinLength, MaxLength: p.MaxLength, MinScore: p.MinScore,
	}.Check(name, prepared)
	if err == credential.RulePasswordShort {
		return &ruleError{ErrPasswordPolicy, credential.RulePasswordShort, p.MinLength}
	}
	return broken(ErrPasswordPolicy, err)
}
