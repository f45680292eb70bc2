package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshKey makes an Ed25519 key for a host or a client.
func sshKey() (ssh.Signer, ed25519.PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	s, err := ssh.NewSignerFromKey(private)
	return s, private, err
}

// serveSSH is the server process of x/crypto/ssh: it lets in who has the key of a line as in authorized_keys.
func serveSSH(authorized string) error {
	allowed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(authorized))
	if err != nil {
		return err
	}
	host, _, err := sshKey()
	if err != nil {
		return err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return serve(l, func(c net.Conn) error {
		s, channels, requests, err := ssh.NewServerConn(c, config)
		if err != nil {
			return err
		}
		go ssh.DiscardRequests(requests)
		for n := range channels {
			if err := n.Reject(ssh.Prohibited, "there is nothing here"); err != nil {
				return err
			}
		}
		return s.Close()
	})
}

// sshLogin is a login of an SSH client, whose connection is held.
func sshLogin(address, as string, host ssh.PublicKey, auth ssh.AuthMethod) func(worker int) (io.Closer, error) {
	known := ssh.InsecureIgnoreHostKey() // the server makes its key when it starts
	if host != nil {
		known = ssh.FixedHostKey(host)
	}
	config := &ssh.ClientConfig{User: as, Auth: []ssh.AuthMethod{auth}, HostKeyCallback: known, Timeout: time.Minute}
	return func(worker int) (io.Closer, error) {
		raw, err := dial(worker, address)
		if err != nil {
			return nil, err
		}
		c, channels, requests, err := ssh.NewClientConn(raw, address, config)
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		go ssh.DiscardRequests(requests)
		go func() {
			for n := range channels {
				_ = n.Reject(ssh.Prohibited, "there is nothing here")
			}
		}()
		return c, nil
	}
}

func sshPeer() *peer {
	return &peer{
		name: "ssh", title: "a Go server on x/crypto/ssh, public key", idle: 2000,
		note: "Ed25519 keys on both sides, default algorithms; nothing is stored",
		start: func(ctx context.Context, e *environment) (*running, error) {
			signer, _, err := sshKey()
			if err != nil {
				return nil, err
			}
			line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
			p, address, err := e.ownServer("ssh", line)
			if err != nil {
				return nil, fmt.Errorf("its server: %w", err)
			}
			hold := sshLogin(address, "user", nil, ssh.PublicKeys(signer))
			return &running{process: p, login: closing(hold), hold: hold}, nil
		},
	}
}
