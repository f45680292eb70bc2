package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/authsrv/authsrv/internal/account"
)

// announce tells the person at the terminal where the server is, and how to try it.
func (p *program) announce(f folder, bound net.Addr, fingerprint string, registration account.Registration) {
	first := "register alice"
	switch registration {
	case account.RegistrationClosed:
		first = "login alice"
	case account.RegistrationChecked:
		first = "register --send-password alice"
	case account.RegistrationInvited:
		first = "register --invite alice"
	}
	// Nobody may be there to read it any more, and the server is not for that.
	fmt.Fprintf(p.stdout.w, "data folder: %s\naddress: %s\nfingerprint: %s\nin a second terminal:\n%s --server %s %s\n",
		f, bound, fingerprint, clientCommand(), quote(dialable(bound)+"#"+fingerprint), first)
}

// dialable is the address at which this machine itself reaches the server.
func dialable(bound net.Addr) string {
	if tcp, ok := bound.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		loopback := net.IPv4(127, 0, 0, 1)
		return (&net.TCPAddr{IP: loopback, Port: tcp.Port}).String()
	}
	return bound.String()
}

// clientCommand is how authcli is called where this program was started.
func clientCommand() string {
	executable, err := os.Executable()
	if err != nil {
		return "authcli"
	}
	if isGoRun(executable) {
		if _, err := os.Stat(filepath.Join("cmd", "authcli")); err == nil {
			return "go run ./cmd/authcli"
		}
		return "go run github.com/authsrv/authsrv/cmd/authcli"
	}
	if _, err := exec.LookPath("authcli"); err == nil {
		return "authcli"
	}
	beside := filepath.Join(filepath.Dir(executable), "authcli"+filepath.Ext(executable))
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
		return quote(beside)
	}
	return "authcli"
}

// isGoRun says whether `go run` built the program: it lies in a temporary folder of the go command then, or in its cache.
func isGoRun(executable string) bool {
	dir := filepath.ToSlash(filepath.Dir(executable))
	if strings.Contains(dir, "/go-build") {
		return true
	}
	cache := os.Getenv("GOCACHE")
	return cache != "" && strings.HasPrefix(dir, filepath.ToSlash(cache)+"/")
}

// quote makes text one word of a shell. In single quotes a POSIX shell takes everything as it is; cmd.exe and PowerShell do so
// in double quotes with what an address or a path has.
func quote(text string) string {
	if runtime.GOOS == "windows" {
		return `"` + text + `"`
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
