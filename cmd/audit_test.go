package cmd_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/token"
)

// auditChain chains the events of a stopped server's folder as if a time had passed.
func auditChain(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "auditchain DIR DURATION")
	ahead, err := time.ParseDuration(args[1])
	ts.Check(err)
	keys, err := keyfile.Open(ts.MkAbs(args[0])+"/keys", nil)
	ts.Check(err)
	seeds := make([]token.Key, len(keys.TokenKeys))
	for i, k := range keys.TokenKeys {
		seeds[i] = token.Key{ID: k.ID, Private: ed25519.NewKeyFromSeed(k.Seed[:])}
	}
	tokens, err := token.New(account.Issuer(keys.RealmID), keys.CurrentToken, seeds...)
	ts.Check(err)
	secrets := account.Secrets{
		RealmID: keys.RealmID, SaltKey: keys.SaltKey, NameKey: keys.NameKey, AuditKey: keys.AuditKey,
		Wrapping: make(map[uint32][32]byte), Current: keys.CurrentWrapping,
	}
	for _, w := range keys.WrappingKeys {
		secrets.Wrapping[w.ID] = w.Key
	}
	onEngine(ts, args[0], func(engine *pebblekv.Store) {
		s, err := account.New(context.Background(), &account.Config{Engine: engine, Secrets: secrets, Tokens: tokens})
		ts.Check(err)
		ts.Check(s.ChainAudit(context.Background(), time.Now().Add(ahead)))
	})
}

// auditTamper does to the n-th record of a space of keys what who can write to the database could.
func auditTamper(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 3 && len(args[1]) == 1, neg, "audittamper DIR u|l|h delete|change|insert|swap")
	onEngine(ts, args[0], func(engine *pebblekv.Store) {
		entries, _, err := engine.Scan(context.Background(), []byte(args[1]), nil, 2)
		ts.Check(err)
		if len(entries) == 0 {
			ts.Fatalf("there is no record in %s", args[1])
		}
		first := entries[0]
		changed := bytes.Clone(first.Value)
		changed[len(changed)-1] ^= 1
		other := bytes.Clone(first.Key)
		other[len(other)-1]++
		var writes []kv.Write
		switch args[2] {
		case "delete":
			writes = []kv.Write{{Key: first.Key, Delete: true}}
		case "change":
			writes = []kv.Write{{Key: first.Key, Value: changed}}
		case "insert":
			writes = []kv.Write{{Key: other, Value: first.Value}}
		case "swap":
			writes = []kv.Write{{Key: first.Key, Value: entries[1].Value}, {Key: entries[1].Key, Value: first.Value}}
		default:
			ts.Fatalf("%s is not known", args[2])
		}
		_, err = engine.Commit(context.Background(), nil, writes)
		ts.Check(err)
	})
}

func onEngine(ts *testscript.TestScript, dir string, do func(*pebblekv.Store)) {
	engine, err := pebblekv.Open(ts.MkAbs(dir)+"/db", nil)
	ts.Check(err)
	defer func() { ts.Check(engine.Close()) }()
	do(engine)
}
