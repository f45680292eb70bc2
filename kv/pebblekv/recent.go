package pebblekv

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"

	"github.com/authsrv/authsrv/kv"
)

// recentKeys is how many keys are in each of the two halves of recent: as many as a map of 8,192 places takes.
const recentKeys = 7000

// recent is the keys that the latest commits have written. With it a read is checked without another one: what is not in it
// has not moved since the floor, and so not since it was read, if that was after the floor.
//
// It has two halves. When the young one is full, it becomes the old one, and the old one is forgotten. There are no pointers in them: a collector passes them by.
type recent struct {
	at atomic.Uint64 // every commit up to this version can be seen, and is in here or below the floor

	mu         sync.RWMutex
	young, old map[brief]kv.Version // 0: the key was deleted
	since      kv.Version           // commits above it are in young, or in old
	floor      kv.Version           // every write above it is in one of the two
}

// brief is a key as it is, up to 47 bytes, with its length behind it, or the sum of a longer one.
type brief [48]byte

func briefly(key []byte) (b brief) {
	if len(key) < len(b) {
		copy(b[:], key)
		b[len(b)-1] = byte(len(key))
		return b
	}
	sum := sha256.Sum256(key)
	copy(b[:], sum[:])
	b[len(b)-1] = 0xff
	return b
}

func (r *recent) init(last kv.Version) {
	r.young = make(map[brief]kv.Version)
	r.since, r.floor = last, last
	r.at.Store(uint64(last))
}

// now returns a version for the At of what is read from now on.
func (r *recent) now() kv.Version { return kv.Version(r.at.Load()) }

// commit takes in the changes of a commit that can be seen. Only commitLoop calls it.
func (r *recent) commit(version kv.Version, events []kv.Event) {
	r.mu.Lock()
	if len(r.young) >= recentKeys {
		r.floor, r.since = r.since, kv.Version(r.at.Load())
		r.old, r.young = r.young, make(map[brief]kv.Version, recentKeys)
	}
	for _, e := range events {
		if e.Deleted {
			r.young[briefly(e.Key)] = 0
		} else {
			r.young[briefly(e.Key)] = version
		}
	}
	r.mu.Unlock()
	r.at.Store(uint64(version))
}

type judgement int

const (
	unknown judgement = iota
	unmoved
	moved
)

func (r *recent) judge(read kv.Read) judgement {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.judgeLocked(read)
}

func (r *recent) judgeLocked(read kv.Read) judgement {
	key := briefly(read.Key)
	version, known := r.young[key]
	if !known {
		version, known = r.old[key]
	}
	switch {
	case known && version != read.Version:
		return moved
	case known, read.At != 0 && read.At >= r.floor:
		return unmoved
	}
	return unknown
}

// Unmoved implements kv.Witness.
func (s *Store) Unmoved(reads []kv.Read) bool {
	if s.Err() != nil {
		return false // who then asks the store finds out why
	}
	s.recent.mu.RLock()
	defer s.recent.mu.RUnlock()
	for _, r := range reads {
		if s.recent.judgeLocked(r) != unmoved {
			return false
		}
	}
	return true
}
