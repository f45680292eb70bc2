package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/authsrv/authsrv/internal/admin"
	"github.com/authsrv/authsrv/internal/keyfile"
)

// This file keeps what a command writes from the server's own files, by whatever name it is given.

// errOwn says of a file that the server has it for itself.
var errOwn = errors.New("it is one of the server's own files")

// reserved says whether the server gives a name to something in its folder. There are file systems to which "Keys" is the key file.
func (f folder) reserved(name string) bool {
	name = strings.ToLower(name)
	for _, own := range []string{f.keys(), f.database(), f.config(), f.lockFile(), f.backupLock(), f.checkpoint(), f.checkpoint() + ".partial", admin.SocketName} {
		if name == filepath.Base(own) {
			return true
		}
	}
	return ours(name)
}

// isOwn says whether to write a file would change, or put something else in the place of, one that the folder's server has: in its folder,
// or one of others, such as a configuration that was chosen.
func (f folder) isOwn(file string, others ...string) (bool, error) {
	for _, name := range namesOf(file) {
		if below, inside := within(string(f), name); inside {
			first, _, _ := strings.Cut(filepath.ToSlash(below), "/")
			if below == "." || f.reserved(first) {
				return true, nil
			}
		}
		for _, dir := range []string{f.database(), f.checkpoint()} { // either may be a link to elsewhere
			if _, inside := within(dir, name); inside {
				return true, nil
			}
		}
	}
	return f.hasFile(file, others)
}

// hasFile says whether a file that is there is another name of one of the folder's own, or of others.
func (f folder) hasFile(file string, others []string) (bool, error) {
	info, err := os.Stat(file)
	if err != nil {
		return false, nil // of what is not there, and who writes it says what else is wrong
	}
	same := func(own string) bool {
		other, err := os.Stat(own)
		return err == nil && os.SameFile(info, other)
	}
	for _, own := range others {
		if own != "" && same(own) {
			return true, nil
		}
	}
	found := false
	err = filepath.WalkDir(string(f), func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // the database's files come and go
			return nil
		case err != nil:
			return err
		case filepath.Dir(name) == string(f) && !f.reserved(d.Name()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case same(name):
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found, local(err)
}

// checkAddrFile refuses an address file that is one of the server's own. Under a name that is free it may be in the data folder.
func (k *configuration) checkAddrFile() error {
	if k.addrFile == "" {
		return nil
	}
	own, err := k.folder.isOwn(k.addrFile, k.file.name, k.passphraseFile)
	if err == nil && own {
		err = k.fault("addr_file", errOwn)
	}
	return err
}

// probeAddrFile finds out before anything is done whether the address file can be written. Its folder may be one that is made with the data folder.
func (k *configuration) probeAddrFile() error {
	if k.addrFile == "" {
		return nil
	}
	dir := filepath.Dir(k.addrFile)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if _, made := within(dir, resolve(string(k.folder))); made {
			return nil
		}
	}
	return local(probe(k.addrFile))
}

// checkBackup refuses a place for a backup that is in the data folder, or is another name of a file of it.
func (f folder) checkBackup(file string, others ...string) error {
	for _, name := range namesOf(file) {
		if _, inside := within(string(f), name); inside {
			return fail(exitLocal, "%s is in the data folder: a backup belongs elsewhere", file)
		}
	}
	own, err := f.isOwn(file, others...)
	if err == nil && own {
		err = fail(exitLocal, "%s: %w", file, errOwn)
	}
	return err
}

// checkRestore refuses a target that is in the data folder of another server.
func (f folder) checkRestore() error {
	for dir := resolve(string(f)); dir != filepath.Dir(dir); {
		dir = filepath.Dir(dir)
		if info, err := os.Stat(folder(dir).database()); err != nil || !info.IsDir() {
			continue
		}
		if _, err := keyfile.Open(folder(dir).keys(), nil); err == nil || errors.Is(err, keyfile.ErrPassphraseNeeded) {
			return fail(exitLocal, "%s is in the data folder %s: restore elsewhere", f, dir)
		}
	}
	return nil
}

// namesOf returns what a name may stand for: the place itself, and what a link there points to. Where ".." follows a link, the system
// and path/filepath read it in two ways, and who writes the file may go by either.
func namesOf(file string) (names []string) {
	for _, name := range []string{file, filepath.Clean(file)} {
		dir, base := split(name)
		names = append(names, filepath.Join(resolve(dir), base), resolve(name))
	}
	return names
}

// within says whether a file is in a folder or below it or is the folder, and where there. The file's name is resolved.
func within(dir, file string) (below string, inside bool) {
	info, statErr := os.Stat(dir)
	dir = resolve(dir)
	for below = "."; ; {
		if file == dir {
			return below, true
		}
		if statErr == nil { // there are file systems that have several names for a folder
			if other, err := os.Stat(file); err == nil && other.IsDir() && os.SameFile(info, other) {
				return below, true
			}
		}
		parent := filepath.Dir(file)
		if parent == file {
			return "", false
		}
		below, file = filepath.Join(filepath.Base(file), below), parent
	}
}

// maxLinks is how many links behind each other are followed.
const maxLinks = 40

// resolve returns the absolute name without links of a file that need not be there.
func resolve(name string) string { return resolveLinks(name, maxLinks) }

func resolveLinks(name string, links int) string {
	if !filepath.IsAbs(name) {
		if wd, err := os.Getwd(); err == nil {
			name = wd + string(filepath.Separator) + name // Join would take a ".." behind a link for what is before it
		}
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	dir, base := split(name)
	if base == "" || dir == name {
		return filepath.Clean(name)
	}
	if target, err := os.Readlink(name); err == nil && links > 0 { // to what is not there
		if !filepath.IsAbs(target) {
			target = dir + string(filepath.Separator) + target
		}
		return resolveLinks(target, links-1)
	}
	return filepath.Join(resolveLinks(dir, links), base)
}

// split takes the last element off a name, and leaves the rest as it is.
func split(name string) (dir, base string) {
	volume := filepath.VolumeName(name)
	rest := name[len(volume):]
	for len(rest) > 1 && os.IsPathSeparator(rest[len(rest)-1]) {
		rest = rest[:len(rest)-1]
	}
	dir, base = filepath.Split(rest)
	if dir == "" {
		dir = "."
	}
	return volume + dir, base
}
