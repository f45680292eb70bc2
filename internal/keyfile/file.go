package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"filippo.io/age"
)

var (
	ErrExists           = errors.New("there is a key file already")
	ErrNotFound         = errors.New("there is no key file")
	ErrPassphraseNeeded = errors.New("the key file is sealed: a passphrase is needed")
	ErrWrongPassphrase  = errors.New("the passphrase is wrong") // or the sealed key's own bytes were changed: age cannot tell
	ErrNotSealed        = errors.New("the key file is not sealed, but a passphrase was given")
	ErrCorrupt          = errors.New("the key file is damaged")
	ErrNewer            = errors.New("the key file was made by a newer version")
	ErrPermissions      = errors.New("the key file can be read by others: make it 0600")
)

const (
	maxSize = 1 << 20 // bytes of a key file; one with hundreds of rotated keys stays far below
	ageMark = "age-encryption.org/v1\n"

	tempSuffix = ".tmp"

	// 2^20 is 1 GiB and some seconds: a sealed file can't ask for more.
	maxWorkFactor = 20
)

// productionWorkFactor is scrypt's, as an exponent of two: 256 MiB and about a second.
const productionWorkFactor = 18

// workFactor is changed by this package's tests alone.
var workFactor = productionWorkFactor

// Create writes k to a new file, sealed if passphrase is not empty. It never touches one that is there: ErrExists.
func Create(path string, k *Keys, passphrase []byte) error {
	temp, err := writeTemp(path, k, passphrase)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	// A link is the rename that does not replace.
	if err := os.Link(temp, path); err != nil {
		if _, statErr := os.Lstat(path); statErr == nil {
			return fmt.Errorf("%w: %s", ErrExists, path)
		}
		// A file system without links. Of two that create at once the later one would win: the lock of the data folder is
		// what keeps them apart there.
		if err := os.Rename(temp, path); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// Save replaces the file at path by k, sealed if passphrase is not empty. The caller holds the lock of the data folder.
func Save(path string, k *Keys, passphrase []byte) error {
	target, err := filepath.EvalSymlinks(path) // a link stays, what it points to is replaced
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNotFound, path)
	} else if err != nil {
		return err
	}
	temp, err := writeTemp(target, k, passphrase)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		_ = os.Remove(temp)
		return err
	}
	removeStale(target)
	return syncDir(filepath.Dir(target))
}

// Open reads the keys at path. An empty passphrase is for a file that is not sealed, another one for a file that is.
func Open(path string, passphrase []byte) (*Keys, error) { return OpenAs(path, path, passphrase) }

// OpenAs is Open for a file that errors are to call by another name than its own, as one that was unpacked for a moment.
func OpenAs(path, name string, passphrase []byte) (*Keys, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	switch isSealed := bytes.HasPrefix(data, []byte(ageMark)); {
	case isSealed && len(passphrase) == 0:
		return nil, fmt.Errorf("%w: %s", ErrPassphraseNeeded, name)
	case isSealed:
		if data, err = unseal(data, passphrase); err != nil {
			return nil, describe(name, err)
		}
	case len(passphrase) != 0 && bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		// Who gives a passphrase relies on what it protects: on a file in its place that anyone could have written, too.
		return nil, fmt.Errorf("%w: %s", ErrNotSealed, name)
	}
	k, err := decode(data)
	if err != nil {
		return nil, describe(name, err)
	}
	return k, nil
}

// Sealed reports whether the file at path needs a passphrase.
func Sealed(path string) (bool, error) {
	data, err := read(path)
	return bytes.HasPrefix(data, []byte(ageMark)), err
}

// describe puts the sentinel and the path before a fault.
func describe(path string, err error) error {
	var f fault
	if errors.As(err, &f) {
		return fmt.Errorf("%w: %s: %s", ErrCorrupt, path, string(f))
	}
	return fmt.Errorf("%w: %s", err, path)
}

func read(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // to open a pipe may never end
		return nil, describe(path, fault("it is not a file"))
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, path)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s is %#o", ErrPermissions, path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSize {
		return nil, describe(path, fault("it is too large"))
	}
	return data, nil
}

func seal(text, passphrase []byte) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(workFactor)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func unseal(data, passphrase []byte) ([]byte, error) {
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	r, err := age.Decrypt(bytes.NewReader(data), identity)
	var noMatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &noMatch) && len(noMatch.StanzaTypes) == 1 && noMatch.StanzaTypes[0] == "scrypt":
		return nil, ErrWrongPassphrase
	case errors.As(err, &noMatch):
		return nil, fault("it is sealed with something else than a passphrase")
	case err != nil:
		return nil, fault("the head of the sealed file is cut short or was changed")
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fault("the sealed part is cut short or was changed")
	}
	return text, nil
}

// writeTemp puts the whole file, on the disk, beside the place where it is to be.
func writeTemp(path string, k *Keys, passphrase []byte) (temp string, err error) {
	data, err := encode(k)
	if err != nil {
		return "", fmt.Errorf("keyfile: these keys are not written: %w", err)
	}
	if len(passphrase) > 0 {
		if data, err = seal(data, passphrase); err != nil {
			return "", fmt.Errorf("keyfile: cannot seal: %w", err)
		}
	}
	if len(data) > maxSize {
		return "", fmt.Errorf("keyfile: too many keys: the file would be larger than %d bytes", maxSize)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+tempSuffix) // 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// removeStale removes what a crash left between writeTemp and rename: it may hold in clear what has been sealed since.
func removeStale(path string) {
	dir, base := filepath.Split(path)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base+".") && strings.HasSuffix(e.Name(), tempSuffix) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder can't be synced there, and renames are journaled
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
