package account

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrDamaged says that a stored record does not open, or is not what it should be.
var ErrDamaged = errors.New("account: damaged record in the store")

// MissingKeyError says that records are sealed under a wrapping key that is not there. Most likely nothing is damaged, and the key file is of
// another time than the store. To who goes on without the records that do not open, it is an ErrDamaged all the same.
type MissingKeyError struct {
	What  string // is sealed so: "audit is", or "7 of 9 records are"
	ID    uint32 // of the key
	Older bool   // the key file has only keys that were made before this one
}

func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("account: %s sealed under wrapping key %d, which is not in the key file", e.What, e.ID)
}

// Is makes it an ErrDamaged.
func (e *MissingKeyError) Is(target error) bool { return target == ErrDamaged }

const (
	sealVersion = 1
	sealHeader  = 1 + 4 + chacha20poly1305.NonceSizeX
)

// formerTime is how long a wrapping key opens records after it was taken away: what was read before it was may be opened a moment later.
const formerTime = time.Minute

// wrapping is the wrapping keys of a moment. It does not change: others take its place.
type wrapping struct {
	current uint32 // seals
	keys    map[uint32]cipher.AEAD

	former      map[uint32]cipher.AEAD // that were taken away
	formerUntil time.Time
}

func newWrapping(keys map[uint32][32]byte, current uint32) (*wrapping, error) {
	w := &wrapping{current: current, keys: make(map[uint32]cipher.AEAD, len(keys))}
	for id, key := range keys {
		aead, err := chacha20poly1305.NewX(key[:])
		if err != nil {
			return nil, err
		}
		w.keys[id] = aead
	}
	return w, nil
}

// key returns the key with an id, for opening.
func (w *wrapping) key(id uint32) (cipher.AEAD, bool) {
	if aead, ok := w.keys[id]; ok {
		return aead, true
	}
	aead, ok := w.former[id]
	return aead, ok && time.Now().Before(w.formerUntil)
}

// missing is the error for a key that is not there.
func (w *wrapping) missing(id uint32, what string) *MissingKeyError {
	e := &MissingKeyError{What: what, ID: id, Older: true}
	for own := range w.keys {
		e.Older = e.Older && own < id
	}
	return e
}

// mostMissing judges records, of which so many are under each of some keys that are not there. The nil error: that is damage, if anything. One record
// among others may have a wrong id because it is damaged.
func (w *wrapping) mostMissing(under map[uint32]int, total int) error {
	var id uint32
	for other, n := range under {
		if n > under[id] || n == under[id] && other < id {
			id = other
		}
	}
	if n := under[id]; n > 1 || n == 1 && total == 1 {
		return w.missing(id, fmt.Sprintf("%d of %d records are", n, total))
	}
	return nil
}

// scratch is room for what is of no use behind the next few lines: most records, sealed or not, and what they are sealed with.
type scratch [768]byte

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// seal encrypts a record for one database key (STORAGE 3.1).
func (s *store) seal(label string, key, record []byte) ([]byte, error) {
	return s.appendSealed(nil, label, key, record)
}

func (s *store) appendSealed(dst []byte, label string, key, record []byte) ([]byte, error) {
	w := s.seals.now.Load()
	aead, ok := w.keys[w.current]
	if !ok {
		return nil, fmt.Errorf("account: wrapping key %d is not in the key file", w.current)
	}
	room := scratches.Get().(*scratch)
	defer scratches.Put(room)
	start := len(dst)
	dst = slices.Grow(dst, sealHeader+len(record)+aead.Overhead())[:start+sealHeader]
	header := dst[start:]
	header[0] = sealVersion
	binary.BigEndian.PutUint32(header[1:], w.current)
	if _, err := io.ReadFull(s.rand, header[5:]); err != nil {
		return nil, err
	}
	return aead.Seal(dst, header[5:], record, appendAD(room[:0], label, header[:5], key)), nil
}

// open decrypts what seal made for the same label and key.
func (s *store) open(label string, key, sealed []byte) ([]byte, error) {
	return s.appendOpened(nil, label, key, sealed)
}

func (s *store) appendOpened(dst []byte, label string, key, sealed []byte) ([]byte, error) {
	id, ok := sealedUnder(sealed)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, label)
	}
	aead, ok := s.seals.now.Load().key(id)
	if !ok {
		return nil, s.seals.now.Load().missing(id, label+" is")
	}
	room := scratches.Get().(*scratch)
	defer scratches.Put(room)
	record, err := aead.Open(dst, sealed[5:sealHeader], sealed[sealHeader:], appendAD(room[:0], label, sealed[:5], key))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, label)
	}
	return record, nil
}

// sealedUnder returns the id of the wrapping key that a record says it is sealed under.
func sealedUnder(sealed []byte) (id uint32, ok bool) {
	if len(sealed) < sealHeader || sealed[0] != sealVersion {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:]), true
}

func appendAD(ad []byte, label string, header, key []byte) []byte {
	ad = appendLP(ad, "authsrv v1 record")
	ad = appendLP(ad, label)
	ad = append(ad, header...)
	return append(ad, key...)
}

// labelled is a label and what it is of, each as lp (PROTOCOL 1).
func labelled(label string, parts ...string) []byte {
	b := appendLP(make([]byte, 0, 128), label)
	for _, p := range parts {
		b = appendLP(b, p)
	}
	return b
}

// appendLP appends lp(x) of PROTOCOL 1.
func appendLP[T string | []byte](dst []byte, x T) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(x))), x...)
}
