package server

import (
	"crypto/ed25519"
	"io"
	"sync"
	"time"

	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// node is this process's static key and its certificate. Both live in memory only, and are
// replaced when half of the certificate's life is over.
type node struct {
	identity ed25519.PrivateKey
	realm    [16]byte
	epoch    uint32
	rand     io.Reader

	mu          sync.Mutex
	static      noiseconn.StaticKey
	certificate wire.Certificate
	renew       time.Time
}

// current returns a key and certificate that are good for days.
func (n *node) current(now time.Time) (noiseconn.StaticKey, wire.Certificate, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Before(n.renew) {
		return n.static, n.certificate, nil
	}
	static, err := noiseconn.NewStaticKey(n.rand)
	if err != nil {
		return static, wire.Certificate{}, err
	}
	n.static = static
	n.certificate = noiseconn.Certify(n.identity, n.realm, static.Public, now, now.Add(noiseconn.MaxCertificateLife), n.epoch)
	n.renew = now.Add(noiseconn.MaxCertificateLife / 2)
	return n.static, n.certificate, nil
}
