package backup

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Errors about an archive or its place.
var (
	ErrNotBackup = errors.New("it is not a backup of authsrv")
	ErrDamaged   = errors.New("the backup is damaged")
	ErrNewer     = errors.New("the backup was made by a newer version of authsrv")
	ErrExists    = errors.New("there is a file already")
	ErrOccupied  = errors.New("the folder to restore into is not empty")
)

// Version is the format of archives that this program writes.
const Version = 1

const (
	formatName = "authsrv-backup"

	nameManifest = "manifest.json"
	nameKeys     = "keys"
	nameConfig   = "authsrv.toml"
	nameStore    = "db"
	nameEnd      = "complete"

	block       = 512
	endSize     = 2*32 + 1 // of the last entry: SHA-256 as hex, and a line end
	endBlocks   = block + block + 2*block
	maxManifest = 16 << 20
	maxSmall    = 1 << 20 // the key file, the configuration
	maxLarge    = 4 << 30 // a file of the store
	maxFiles    = 1 << 16
	maxProgram  = 128
	buffered    = 256 << 10 // bytes that are read at once
	maxMtime    = 1<<33 - 1 // 11 octal digits
)

// storeNames are the files of a store. Another one means another engine than this format was made for.
var storeNames = regexp.MustCompile(`^db/(?:[0-9]{6,20}\.(?:sst|blob|log)|(?:MANIFEST|OPTIONS)-[0-9]{6,20}|` +
	`marker\.[a-z-]{1,40}\.[0-9]{6}\.[A-Za-z0-9-]{1,40})$`)

// Manifest is the first entry: what is in the archive.
type Manifest struct {
	Format      string    `json:"format"`
	Version     int       `json:"version"`
	Realm       HexBytes  `json:"realm_id"`
	Created     time.Time `json:"created"`
	Program     string    `json:"program"`
	StoreFormat uint32    `json:"store_format"`
	Keys        bool      `json:"keys"`
	Files       []File    `json:"files"`
}

// File is one entry of the archive.
type File struct {
	Name   string   `json:"name"`
	Size   int64    `json:"size"`
	SHA256 HexBytes `json:"sha256"`
}

// HexBytes are bytes as lower-case hex.
type HexBytes []byte

// MarshalText implements encoding.TextMarshaler.
func (h HexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *HexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

func (m *Manifest) encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	if len(text) >= maxManifest {
		return nil, errors.New("backup: too many files")
	}
	return append(text, '\n'), nil
}

// decodeManifest reads what encode writes, and nothing else. The errors of encoding/json are not passed on: they quote.
func decodeManifest(text []byte) (*Manifest, error) {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, damaged("its manifest is not JSON")
	}
	if head.Format != formatName {
		return nil, ErrNotBackup
	}
	if head.Version > Version {
		return nil, ErrNewer
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, damaged("its manifest has a value of the wrong kind")
	}
	again, err := m.encode()
	if err != nil {
		return nil, damaged("its manifest: %v", err)
	}
	if !bytes.Equal(again, text) {
		return nil, damaged("its manifest is not in the form that is written")
	}
	return &m, nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// check holds a manifest against the format. It shows no name: in a damaged archive it could be anything.
func (m *Manifest) check() error {
	created := m.Created.Unix()
	switch {
	case m.Format != formatName || m.Version != Version:
		return errors.New("format or version are missing")
	case len(m.Realm) != 16:
		return errors.New("realm_id has the wrong length")
	case created < 0 || created > maxMtime || !m.Created.Equal(time.Unix(created, 0)) || m.Created.Location() != time.UTC:
		return errors.New("created is not in whole seconds of UTC")
	case len(m.Program) > maxProgram:
		return errors.New("program is too long")
	case m.StoreFormat == 0:
		return errors.New("store_format is missing")
	case len(m.Files) > maxFiles:
		return errors.New("there are too many files")
	}
	return m.checkFiles()
}

func (m *Manifest) checkFiles() error {
	last, keys, stored := 0, false, ""
	for i, f := range m.Files {
		rank, most := 0, int64(maxSmall)
		switch {
		case f.Name == nameKeys:
			rank, keys = 1, true
		case f.Name == nameConfig:
			rank = 2
		case storeNames.MatchString(f.Name):
			rank, most = 3, maxLarge
		default:
			return fmt.Errorf("file %d of the list has a name that does not belong there", i+1)
		}
		if rank < last || rank == last && (rank != 3 || f.Name <= stored) {
			return fmt.Errorf("file %d of the list is there twice or out of order", i+1)
		}
		if f.Size < 0 || f.Size > most {
			return fmt.Errorf("file %d of the list is too large", i+1)
		}
		if len(f.SHA256) != 32 {
			return fmt.Errorf("file %d of the list has a sum of the wrong length", i+1)
		}
		last, stored = rank, f.Name
	}
	if last != 3 {
		return errors.New("there is no database")
	}
	if keys != m.Keys {
		return errors.New("it contradicts itself about the keys")
	}
	return nil
}

// HasConfig says whether the configuration is in the archive.
func (m *Manifest) HasConfig() bool {
	for _, f := range m.Files[:min(2, len(m.Files))] {
		if f.Name == nameConfig {
			return true
		}
	}
	return false
}

// size is that of the whole archive, with a manifest of this length.
func (m *Manifest) size(manifest int) int64 {
	total := block + padded(int64(manifest)) + endBlocks
	for _, f := range m.Files {
		total += block + padded(f.Size)
	}
	return total
}

func padded(n int64) int64 { return (n + block - 1) / block * block }

// header is the one header of an entry.
func header(name string, size, mtime int64) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: time.Unix(mtime, 0), Format: tar.FormatUSTAR,
	})
	if err == nil && b.Len() != block {
		err = errors.New("backup: a header of another size")
	}
	return b.Bytes(), err
}

// end is all that is behind the files, where sum is that of all before.
func end(sum []byte, mtime int64) ([]byte, error) {
	b, err := header(nameEnd, endSize, mtime)
	if err != nil {
		return nil, err
	}
	b = append(hex.AppendEncode(b, sum), '\n')
	return append(b, make([]byte, endBlocks-len(b))...), nil
}
