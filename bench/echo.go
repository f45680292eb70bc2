package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// selfSigned makes a certificate for loopback, with the kind of key that most servers have.
func selfSigned() (der []byte, key *ecdsa.PrivateKey, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return der, key, err
}

// clientTLS believes any certificate, but still checks that the server has its key.
func clientTLS(curves ...tls.CurveID) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, CurvePreferences: curves}
}

// serveTLS is the server process of a bare TLS connection: it echoes.
func serveTLS(curves []tls.CurveID) error {
	der, key, err := selfSigned()
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: curves, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	})
	if err != nil {
		return err
	}
	return serve(l, echo(1))
}

// echo sends back what comes, so many bytes at a time.
func echo(n int) func(net.Conn) error {
	return func(c net.Conn) error {
		b := make([]byte, n)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return err
			}
			if _, err := c.Write(b); err != nil {
				return err
			}
		}
	}
}

// serveTCP is the server process of a bare TCP connection.
func serveTCP() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return serve(l, echo(skeletonBytes))
}

// serve says where a hidden server of this program listens, and serves until its standard input ends, with the bench at the latest.
func serve(l net.Listener, each func(net.Conn) error) error {
	fmt.Println(l.Addr())
	go untilAbandoned()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = each(c) // how a client goes is its own business
		}()
	}
}

func tlsPeer(name, title string, curves ...tls.CurveID) *peer {
	config := clientTLS(curves...)
	return echoPeer(&peer{
		name: name, title: title, idle: 2000,
		note: "no login at all: a handshake with a P-256 certificate, and one byte echoed",
	}, 1, 1, func(raw net.Conn) net.Conn { return tls.Client(raw, config) })
}

// skeletonBytes is about what a message of a login has, and a login has three from each side.
const skeletonBytes, skeletonTurns = 200, 3

// tcpPeer is what a connection costs on which nothing is computed.
func tcpPeer() *peer {
	return echoPeer(&peer{
		name: "tcp", title: "bare TCP, three messages each way", idle: 2000,
		note: "nothing is computed, encrypted or kept: what package net and the kernel take for a connection with the messages of a login",
	}, skeletonBytes, skeletonTurns, func(raw net.Conn) net.Conn { return raw })
}

// echoPeer gives a peer the hidden server of its name, to which so many messages of so many bytes are sent, each behind the echo of the one before, on what
// wrap makes of a connection.
func echoPeer(p *peer, size, turns int, wrap func(net.Conn) net.Conn) *peer {
	p.start = func(ctx context.Context, e *environment) (*running, error) {
		server, address, err := e.ownServer(p.name)
		if err != nil {
			return nil, err
		}
		hold := func(worker int) (io.Closer, error) {
			raw, err := dial(worker, address)
			if err != nil {
				return nil, err
			}
			c, b := wrap(raw), make([]byte, size)
			for range turns {
				if _, err := c.Write(b); err != nil {
					return nil, errors.Join(err, raw.Close())
				}
				if _, err := io.ReadFull(c, b); err != nil {
					return nil, errors.Join(err, raw.Close())
				}
			}
			return raw, nil
		}
		return &running{process: server, login: closing(hold), hold: hold}, nil
	}
	return p
}

// writeTLSFiles writes a certificate and its key as PEM.
func writeTLSFiles(dir string) error {
	der, key, err := selfSigned()
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(dir, "certificate"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// ownServer starts this program as a server of a kind.
func (e *environment) ownServer(kind string, args ...string) (*process, string, error) {
	c := exec.Command(e.self, append([]string{"serve", kind}, args...)...)
	if _, err := c.StdinPipe(); err != nil { // it ends with this process
		return nil, "", err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	p, err := launch(e.dir, kind, c)
	if err != nil {
		return nil, "", err
	}
	address, err := firstLine(out)
	if err != nil {
		return nil, "", p.fault(errors.Join(err, p.Stop()))
	}
	return p, address, nil
}
