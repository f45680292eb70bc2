package credential

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Argon2id is the one algorithm of this version of the protocol.
const Argon2id = 1

// KDFSize is the size of an encoded [KDF] in bytes.
const KDFSize = 10

// The bounds of PROTOCOL 5: a client computes nothing outside of them, and a server stores no others. The two
// floors are those that OWASP gives for Argon2id as equal.
const (
	kdfMemoryFloor        = 19_456 // KiB, with 2 passes or more
	kdfMemoryFloorOnePass = 47_104 // KiB, with 1 pass
	kdfMemoryCeiling      = 1_048_576
	kdfTimeCeiling        = 8
	kdfLanesCeiling       = 8
)

// ErrKDF is what the error of [KDF.Check] wraps.
var ErrKDF = errors.New("credential: key derivation outside of the bounds")

// KDF is how a password is stretched. The zero KDF is none.
type KDF struct {
	Algorithm uint8  // Argon2id
	Time      uint32 // passes
	MemoryKiB uint32
	Lanes     uint8
}

// DefaultKDF is the second recommended option of RFC 9106: 64 MiB, three passes, four lanes.
func DefaultKDF() KDF {
	return KDF{Algorithm: Argon2id, Time: 3, MemoryKiB: 65_536, Lanes: 4}
}

// Check refuses what is outside of the bounds of PROTOCOL 5, with an error that wraps [ErrKDF] and says which.
func (k KDF) Check() error {
	switch {
	case k.Algorithm != Argon2id:
		return fmt.Errorf("%w: unknown algorithm %d", ErrKDF, k.Algorithm)
	case k.Time < 1:
		return fmt.Errorf("%w: no passes", ErrKDF)
	case k.Time > kdfTimeCeiling:
		return fmt.Errorf("%w: %d passes are over %d", ErrKDF, k.Time, kdfTimeCeiling)
	case k.Lanes < 1:
		return fmt.Errorf("%w: no lanes", ErrKDF)
	case k.Lanes > kdfLanesCeiling:
		return fmt.Errorf("%w: %d lanes are over %d", ErrKDF, k.Lanes, kdfLanesCeiling)
	case k.MemoryKiB > kdfMemoryCeiling:
		return fmt.Errorf("%w: %d KiB of memory are over %d", ErrKDF, k.MemoryKiB, kdfMemoryCeiling)
	case k.MemoryKiB < kdfMemoryFloor:
		return fmt.Errorf("%w: %d KiB of memory are below %d", ErrKDF, k.MemoryKiB, kdfMemoryFloor)
	case k.MemoryKiB < kdfMemoryFloorOnePass && k.Time == 1:
		return fmt.Errorf("%w: %d KiB of memory are below %d, the least with one pass", ErrKDF, k.MemoryKiB, kdfMemoryFloorOnePass)
	}
	return nil
}

// Below reports whether any parameter is lower than in other, whatever the rest is: a client does not
// let a server lower what an account had (PROTOCOL 10).
func (k KDF) Below(other KDF) bool {
	return k.Algorithm < other.Algorithm || k.Time < other.Time || k.MemoryKiB < other.MemoryKiB || k.Lanes < other.Lanes
}

// AppendTo appends the 10 bytes of PROTOCOL 5.
func (k KDF) AppendTo(dst []byte) []byte {
	dst = append(dst, k.Algorithm)
	dst = binary.BigEndian.AppendUint32(dst, k.Time)
	dst = binary.BigEndian.AppendUint32(dst, k.MemoryKiB)
	return append(dst, k.Lanes)
}
