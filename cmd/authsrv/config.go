package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"

	"github.com/BurntSushi/toml"
)

const defaultListen = "127.0.0.1:7022"

// config is authsrv.toml in the data folder: what the first run was told, and later ones keep to.
type config struct {
	Listen string `toml:"listen"`
}

// readConfig returns the zero config where there is no file yet.
func (f folder) readConfig() (c config, err error) {
	text, err := os.ReadFile(f.config())
	if errors.Is(err, fs.ErrNotExist) {
		return config{}, nil
	} else if err != nil {
		return config{}, local(err)
	}
	meta, err := toml.Decode(string(text), &c)
	if err != nil {
		return config{}, fail(exitLocal, "%s cannot be read: %w", f.config(), err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return config{}, fail(exitLocal, "%s has the unknown key %q", f.config(), unknown[0].String())
	}
	if c.Listen != "" || meta.IsDefined("listen") {
		if err := checkListen(c.Listen); err != nil {
			return config{}, fail(exitLocal, "%s: listen: %w", f.config(), err)
		}
	}
	return c, nil
}

func (f folder) writeConfig(c config) error {
	text, err := toml.Marshal(c)
	if err != nil {
		return local(err)
	}
	return local(writeWhole(f.config(), string(text), 0o600))
}

// checkListen judges an address to listen at by its form alone.
func checkListen(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is not HOST:PORT, with a port of 0 to 65535", address)
	} else if strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("the port of %q is not written as a number usually is", address)
	}
	return nil
}

// chooseListen puts a flag over what is kept, and that over the default.
func chooseListen(flag, kept string) string { return cmp.Or(flag, kept, defaultListen) }
