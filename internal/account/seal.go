package account

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrDamaged says that a stored record does not open, or is not what it should be.
var ErrDamaged = errors.New("account: damaged record in the store")

const (
	sealVersion = 1
	sealHeader  = 1 + 4 + chacha20poly1305.NonceSizeX
)

// seal encrypts a record for one database key (STORAGE 3.1).
func (s *store) seal(label string, key, record []byte) ([]byte, error) {
	wrapping, ok := s.secrets.Wrapping[s.secrets.Current]
	if !ok {
		return nil, fmt.Errorf("account: wrapping key %d is not in the key file", s.secrets.Current)
	}
	aead, err := chacha20poly1305.NewX(wrapping[:])
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, sealHeader, sealHeader+len(record)+aead.Overhead())
	sealed[0] = sealVersion
	binary.BigEndian.PutUint32(sealed[1:], s.secrets.Current)
	if _, err := io.ReadFull(s.rand, sealed[5:]); err != nil {
		return nil, err
	}
	return aead.Seal(sealed, sealed[5:sealHeader], record, sealAD(label, sealed[:5], key)), nil
}

// open decrypts what seal made for the same label and key.
func (s *store) open(label string, key, sealed []byte) ([]byte, error) {
	if len(sealed) < sealHeader || sealed[0] != sealVersion {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, label)
	}
	id := binary.BigEndian.Uint32(sealed[1:])
	wrapping, ok := s.secrets.Wrapping[id]
	if !ok {
		return nil, fmt.Errorf("%w: %s is sealed under wrapping key %d, which is not in the key file", ErrDamaged, label, id)
	}
	aead, err := chacha20poly1305.NewX(wrapping[:])
	if err != nil {
		return nil, err
	}
	record, err := aead.Open(nil, sealed[5:sealHeader], sealed[sealHeader:], sealAD(label, sealed[:5], key))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, label)
	}
	return record, nil
}

func sealAD(label string, header, key []byte) []byte {
	ad := make([]byte, 0, 128)
	ad = appendLP(ad, "authsrv v1 record")
	ad = appendLP(ad, label)
	ad = append(ad, header...)
	return append(ad, key...)
}

// appendLP appends lp(x) of PROTOCOL 1.
func appendLP[T string | []byte](dst []byte, x T) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(x))), x...)
}
