package account

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/token"
	"golang.org/x/crypto/cryptobyte"
)

const (
	// maxDevices is how many known devices an account has (STORAGE 3.4).
	maxDevices = 16
	// seenAfter is the least time between two writes of when a device was seen.
	seenAfter = 24 * time.Hour
	// scanDevices is how many are looked at: logins at once can each add one to those that are allowed.
	scanDevices = 48
)

// deviceRecord is a client static that has logged in to an account, and its failures since (STORAGE 3.2).
type deviceRecord struct {
	seen uint64 // Unix seconds, to the day
	throttleRecord
}

func (r *deviceRecord) encode() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 24))
	b.AddUint64(r.seen)
	failures, err := r.throttleRecord.encode()
	b.AddBytes(failures)
	if err != nil {
		return nil, err
	}
	return b.Bytes()
}

func (r *deviceRecord) decode(record []byte) error {
	s := cryptobyte.String(record)
	if !s.ReadUint64(&r.seen) || r.throttleRecord.decode(s) != nil {
		return fmt.Errorf("%w: device", ErrDamaged)
	}
	return nil
}

func devicePrefix(account ID) []byte { return append([]byte{spaceDevice}, account[:]...) }

func deviceKey(account ID, static [32]byte) []byte {
	thumbprint := token.ThumbprintSum(static)
	return append(devicePrefix(account), thumbprint[:16]...)
}

// greet forgets the failures of the device that an account's owner has come with. A login makes it known.
func (s *Service) greet(ctx context.Context, tx *kv.Tx, a *Attempt, id ID) error {
	key := deviceKey(id, a.channel.Static)
	var r deviceRecord
	there, err := s.store.get(tx, labelDevice, key, &r)
	now := time.Now()
	switch {
	case err != nil:
		return err
	case there && r.throttleRecord == (throttleRecord{}) && now.Sub(unix(r.seen)) < seenAfter:
		return nil
	case !there && a.kind != KindLogin:
		return nil
	case !there:
		if err := s.makeRoom(ctx, tx, id, key); err != nil {
			return err
		}
	}
	return s.store.put(tx, labelDevice, key, &deviceRecord{seen: uint64(now.Unix())})
}

// makeRoom removes the devices of an account that were not seen for longest, so that there is a place for one more.
func (s *Service) makeRoom(ctx context.Context, tx *kv.Tx, id ID, but []byte) error {
	devices, err := s.devices(ctx, id)
	if err != nil {
		return err
	}
	slices.SortFunc(devices, func(a, b device) int { return -cmp.Compare(a.seen, b.seen) })
	for i, d := range devices {
		if i >= maxDevices-1 && !bytes.Equal(d.key, but) {
			tx.Delete(d.key)
		}
	}
	return nil
}

type device struct {
	key []byte
	deviceRecord
}

// devices reads those of an account. One that is damaged is left out.
func (s *Service) devices(ctx context.Context, id ID) (list []device, err error) {
	entries, _, err := s.store.engine.Scan(ctx, devicePrefix(id), nil, scanDevices)
	for _, e := range entries {
		d := device{key: e.Key}
		if err := s.store.decode(labelDevice, e.Key, e.Value, &d.deviceRecord); errors.Is(err, ErrDamaged) {
			continue
		} else if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, err
}

// clearDevices forgets the failures of all devices of an account, and says whether there were any.
func (s *Service) clearDevices(ctx context.Context, tx *kv.Tx, id ID) (cleared bool, err error) {
	devices, err := s.devices(ctx, id)
	if err != nil {
		return false, err
	}
	for _, d := range devices {
		var r deviceRecord
		there, err := s.store.get(tx, labelDevice, d.key, &r)
		if err != nil {
			return false, err
		}
		if !there || r.throttleRecord == (throttleRecord{}) {
			continue
		}
		cleared = true
		if err := s.store.put(tx, labelDevice, d.key, &deviceRecord{seen: r.seen}); err != nil {
			return false, err
		}
	}
	return cleared, nil
}

// deviceDead says whether the account of a device is gone.
func (s *Service) deviceDead(p *page, e kv.Entry, _ time.Time) (bool, error) {
	if len(e.Key) != 1+16+16 {
		return false, ErrDamaged
	}
	there, err := p.find(ID(e.Key[1:17]))
	return err == nil && !there, err
}
