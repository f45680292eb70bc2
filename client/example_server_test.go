package client_test

import (
	"context"
	"net"
	"sync"

	"github.com/authsrv/authsrv/internal/authtest"
)

// exampleServer starts a server with an empty store for an example, in memory. It ends with the next one, or the process.
func exampleServer() (dialer func(context.Context, string, string) (net.Conn, error), fingerprint string) {
	exampleMu.Lock()
	defer exampleMu.Unlock()
	if example != nil {
		if err := example.Stop(); err != nil {
			panic(err)
		}
	}
	var err error
	if example, err = authtest.Start(authtest.Options{}); err != nil {
		panic(err)
	}
	return example.Connect, example.Fingerprint
}

var (
	exampleMu sync.Mutex
	example   *authtest.Server
)
