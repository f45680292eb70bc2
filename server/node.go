package server

import (
	"crypto/ed25519"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// Identity is who a server is to its clients (PROTOCOL 4).
type Identity struct {
	Key   ed25519.PrivateKey
	Next  [32]byte // SHA-256 of the successor's public key; zeros: none
	Epoch uint32   // of certificates; 0: 1
}

// node is this process's static key and its certificate. Both live in memory only, and are
// replaced when half of the certificate's life is over, and with the identity.
type node struct {
	realm [16]byte
	rand  io.Reader

	mu       sync.Mutex
	identity Identity
	now      credentials
	renew    time.Time
}

// credentials is what a server shows to one client: all of it belongs together.
type credentials struct {
	static         noiseconn.StaticKey
	certificate    wire.Certificate
	identity, next [32]byte
}

// become changes who the node is, for the next handshake.
func (n *node) become(i Identity) error {
	if len(i.Key) != ed25519.PrivateKeySize {
		return errors.New("server: the identity has no Ed25519 key")
	}
	if i.Epoch == 0 {
		i.Epoch = 1
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.identity, n.renew = i, time.Time{}
	return nil
}

// current returns a key and certificate that are good for days.
func (n *node) current(now time.Time) (credentials, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Before(n.renew) {
		return n.now, nil
	}
	static, err := noiseconn.NewStaticKey(n.rand)
	if err != nil {
		return credentials{}, err
	}
	n.now = credentials{
		static:      static,
		certificate: noiseconn.Certify(n.identity.Key, n.realm, static.Public, now, now.Add(noiseconn.MaxCertificateLife), n.identity.Epoch),
		identity:    [32]byte(n.identity.Key.Public().(ed25519.PublicKey)), next: n.identity.Next,
	}
	n.renew = now.Add(noiseconn.MaxCertificateLife / 2)
	return n.now, nil
}

// SetIdentity changes who the server is to those who connect from now on: its static key and certificate are made anew. Who is connected
// stays so.
func (s *Server) SetIdentity(i Identity) error { return s.node.become(i) }
