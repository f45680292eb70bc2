package pebblekv

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/authsrv/authsrv/kv"
)

// STORAGE 2.2: the first byte of a key in pebble tells the store's own record from the caller's keys.
const (
	tagMeta = 0x00 // the whole key of the record meta
	tagUser = 0x01 // followed by the caller's key
	tagEnd  = 0x02 // above all keys

	layoutVersion = 1

	metaSize    = 1 + 8 + 8
	versionSize = 8
)

var metaKey = []byte{tagMeta}

// meta is rewritten by every commit, in its batch, and once when the store is opened.
type meta struct {
	assigned kv.Version // none above it was ever given to a commit
	last     kv.Version // the latest commit
}

func (m meta) encode() []byte {
	b := append(make([]byte, 0, metaSize), layoutVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(m.assigned))
	return binary.BigEndian.AppendUint64(b, uint64(m.last))
}

func decodeMeta(b []byte) (meta, error) {
	if len(b) > 0 && b[0] > layoutVersion {
		return meta{}, fmt.Errorf("%w: layout %d, of %d", ErrNewerFormat, b[0], layoutVersion)
	}
	if len(b) != metaSize || b[0] != layoutVersion {
		return meta{}, fmt.Errorf("%w: its own record is malformed", ErrCorrupt)
	}
	m := meta{
		assigned: kv.Version(binary.BigEndian.Uint64(b[1:])),
		last:     kv.Version(binary.BigEndian.Uint64(b[9:])),
	}
	if m.last > m.assigned {
		return meta{}, fmt.Errorf("%w: its own record contradicts itself", ErrCorrupt)
	}
	return m, nil
}

func userKey(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), tagUser), key...)
}

// set has a batch set a caller's key.
func set(batch *pebble.Batch, key []byte, version kv.Version, value []byte) error {
	op := batch.SetDeferred(1+len(key), versionSize+len(value))
	op.Key[0] = tagUser
	copy(op.Key[1:], key)
	binary.BigEndian.PutUint64(op.Value, uint64(version))
	copy(op.Value[versionSize:], value)
	return op.Finish()
}

// remove has a batch delete a caller's key.
func remove(batch *pebble.Batch, key []byte) error {
	op := batch.DeleteDeferred(1 + len(key))
	op.Key[0] = tagUser
	copy(op.Key[1:], key)
	return op.Finish()
}

// decodeValue splits what pebble holds for a caller's key. The value aliases stored.
func decodeValue(stored []byte) (kv.Version, []byte, error) {
	if len(stored) < versionSize {
		return 0, nil, fmt.Errorf("%w: a value without its version", ErrCorrupt)
	}
	v := kv.Version(binary.BigEndian.Uint64(stored))
	if v == 0 {
		return 0, nil, fmt.Errorf("%w: a value with version 0", ErrCorrupt)
	}
	return v, stored[versionSize:], nil
}

// prefixEnd returns the least key above all that have the prefix, both in pebble's form. There
// always is one, since the prefix begins with tagUser.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; ; i-- {
		if prefix[i] != 0xff {
			end := append([]byte{}, prefix[:i+1]...)
			end[i]++
			return end
		}
	}
}
