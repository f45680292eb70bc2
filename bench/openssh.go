package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const sshd = "/usr/sbin/sshd" // it starts itself again by its absolute name

// opensshPeer is Debian's sshd, with a configuration and keys of its own.
func opensshPeer(password bool) *peer {
	p := &peer{
		name: "openssh", title: "OpenSSH, public key", idle: 96,
		note: "Debian's sshd with default algorithms, without PAM; a process or two a connection",
	}
	if password {
		p.name, p.title = "openssh-password", "OpenSSH, password"
		p.note = "as with a public key, but for the password of a user of the system (crypt)"
	}
	p.start = func(ctx context.Context, e *environment) (*running, error) { return startOpenSSH(ctx, e, password) }
	return p
}

func startOpenSSH(ctx context.Context, e *environment, password bool) (r *running, err error) {
	if _, err := os.Stat(sshd); err != nil {
		return nil, &errMissing{"apt-get install openssh-server"}
	}
	if password && (!e.user || os.Getuid() != 0) {
		return nil, &errMissing{"it needs a user of the system: --make-user, as root"}
	}
	if os.Getuid() == 0 { // what Debian's service does before
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(e.dir, "openssh-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, err
	}
	host, hostPrivate, err := sshKey()
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(hostPrivate, "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "host"), pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	signer, _, err := sshKey()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "authorized"), ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644); err != nil {
		return nil, err
	}
	who, err := osuser.Current()
	if err != nil {
		return nil, err
	}
	as, auth, remove := who.Username, ssh.PublicKeys(signer), func() error { return nil }
	if password {
		var secret string
		if as, secret, remove, err = makeUser(); err != nil {
			return nil, err
		}
		auth = ssh.Password(secret)
	}
	address, port, err := freeAddress()
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte(sshdConfig(dir, port, password)), 0o600); err != nil {
		return nil, errors.Join(err, remove())
	}
	p, err := launch(e.dir, "sshd", exec.Command(sshd, "-D", "-e", "-f", config))
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	if err := p.connectable(ctx, address); err != nil {
		return nil, errors.Join(err, p.Stop(), remove())
	}
	hold := sshLogin(address, as, host.PublicKey(), auth)
	return &running{process: p, login: closing(hold), hold: hold, close: remove}, nil
}

func sshdConfig(dir, port string, password bool) string {
	yes := map[bool]string{true: "yes", false: "no"}
	return strings.Join([]string{
		"ListenAddress 127.0.0.1", "Port " + port, "HostKey " + filepath.Join(dir, "host"), "AuthorizedKeysFile " + filepath.Join(dir, "authorized"),
		"PidFile none", "StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password", "KbdInteractiveAuthentication no",
		"PubkeyAuthentication " + yes[!password], "PasswordAuthentication " + yes[password], "MaxStartups 1000", "LogLevel ERROR", "",
	}, "\n")
}

// makeUser makes a user of the system with a password, which remove takes away again.
func makeUser() (name, password string, remove func() error, err error) {
	b := make([]byte, 20)
	if _, err := rand.Read(b); err != nil {
		return "", "", nil, err
	}
	name, password = "authsrv-bench-"+hex.EncodeToString(b[:4]), hex.EncodeToString(b[4:])
	if out, err := exec.Command("useradd", "--no-create-home", "--shell", "/bin/sh", name).CombinedOutput(); err != nil {
		return "", "", nil, fmt.Errorf("useradd: %w: %s", err, out)
	}
	remove = func() error {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the last of its processes may just be ending
			out, err := exec.Command("userdel", name).CombinedOutput()
			if err == nil {
				return nil
			}
			if time.Now().After(end) {
				return fmt.Errorf("userdel %s: %w: %s", name, err, out)
			}
		}
	}
	c := exec.Command("chpasswd")
	c.Stdin = strings.NewReader(name + ":" + password + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		return "", "", nil, errors.Join(fmt.Errorf("chpasswd: %w: %s", err, out), remove())
	}
	return name, password, remove, nil
}
