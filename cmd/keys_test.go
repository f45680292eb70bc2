package cmd_test

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/internal/keyring"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// records writes as many sealed records into the folder of a stopped server.
func records(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "records DIR N")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	keys, err := keyfile.Open(ts.MkAbs(args[0])+"/keys", nil)
	ts.Check(err)
	tokens, err := keyring.Tokens(keys)
	ts.Check(err)
	onEngine(ts, args[0], func(engine *pebblekv.Store) {
		s, err := account.New(context.Background(), &account.Config{Engine: engine, Secrets: keyring.Secrets(keys), Tokens: tokens})
		ts.Check(err)
		const writers = 64 // who share the disk's syncs
		errs := make([]error, writers)
		var wg sync.WaitGroup
		at := time.Now()
		for w := range writers {
			wg.Go(func() {
				for i := w; i < n && errs[w] == nil; i += writers {
					_, errs[w] = s.NoteRotation(context.Background(), account.KindRotateEpoch, strconv.Itoa(i), at)
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			ts.Check(err)
		}
	})
}

// waitWrapped waits until a running server has one wrapping key left, and it is this one.
func waitWrapped(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "waitwrapped DIR ID")
	wait(ts, "one wrapping key", func() bool {
		keys, err := keyfile.Open(ts.MkAbs(args[0])+"/keys", nil)
		ts.Check(err)
		return len(keys.WrappingKeys) == 1 && strconv.FormatUint(uint64(keys.CurrentWrapping), 10) == args[1]
	})
}
