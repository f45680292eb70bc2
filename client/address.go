package client

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/noiseconn"
)

// DefaultPort is the port of an address that has none.
const DefaultPort = 7022

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
		if strings.Contains(bare, ":") && net.ParseIP(bare) == nil {
			return "", "", fmt.Errorf("server address %q: want HOST:PORT", address)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || n == 0 {
		return "", "", fmt.Errorf("server address %q: want HOST:PORT", address)
	}
	return net.JoinHostPort(host, port), fingerprint, nil
}

// CheckName returns a name as a server knows it, or the Rule that it breaks: for apps that want to know before they ask for a
// password. Register and Login do the same.
func CheckName(typed string) (string, error) { return credential.PrepareName(typed) }
