package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"
	"github.com/urfave/cli/v2"
)

// Where a value comes from, from the first that is asked to the last.
const (
	fromFlag        = "flag"
	fromEnvironment = "environment"
	fromFile        = "file"
	fromDefault     = "default"
)

// configuration is every setting, each with where its value comes from.
type configuration struct {
	settings
	folder folder
	file   *configFile
	values []value // by the table
}

type value struct {
	text  string
	from  string
	where string // the flag, the variable, or the file with its line
}

// configFile is a file as it stands.
type configFile struct {
	name    string
	chosen  bool // by --config or AUTHSRV_CONFIG; else it is the data folder's own, which need not be there
	present bool
	text    string
	values  map[string]any
}

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "the configuration is `FILE`", DefaultText: "authsrv.toml in the data folder"}
}

// readConfig reads a file, and judges its form.
func readConfig(name string, chosen bool) (*configFile, error) {
	f := &configFile{name: name, chosen: chosen}
	if !chosen { // one that was chosen may come through a pipe, once
		if err := endless(name); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(name)
	if !chosen && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) { // a data folder that is a file is told of later
		return f, nil
	} else if err != nil {
		return nil, fail(exitLocal, "cannot read the configuration: %w", err)
	}
	f.present, f.text = true, string(text)
	_, err = toml.Decode(f.text, &f.values)
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		return nil, fail(exitLocal, "%s:%d: %s", name, syntax.Position.Line, syntax.Message)
	} else if err != nil {
		return nil, fail(exitLocal, "%s: %w", name, err)
	}
	return f, nil
}

// endless refuses what may have no end, or no beginning: a pipe, or a device other than that of nothing. What is wrong with others says who reads them.
func endless(name string) error {
	info, err := os.Stat(name)
	if err != nil || info.Mode().IsRegular() || info.IsDir() {
		return nil
	}
	if nothing, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, nothing) {
		return nil
	}
	return fail(exitLocal, "cannot read the configuration: %s is not a file", name)
}

// where names the file and the line of a key.
func (f *configFile) where(key string) string {
	for i, line := range strings.Split(f.text, "\n") {
		left, _, _ := strings.Cut(line, "=")
		if left = strings.TrimLeft(left, " \t["); strings.Trim(left, "\"' \t\r]") == key {
			return f.name + ":" + strconv.Itoa(i+1)
		}
	}
	return f.name
}

// fault is an error about a key of the file.
func (f *configFile) fault(key string, err error) error {
	return fail(exitLocal, "%s: %s: %w", f.where(key), key, err)
}

// get returns a value as text. A number is one too.
func (f *configFile) get(s *setting) (text string, there bool, err error) {
	v, there := f.values[s.key]
	if !there {
		return "", false, nil
	}
	switch v := v.(type) {
	case string:
		text = v
	case int64:
		text = strconv.FormatInt(v, 10)
	default:
		return "", true, f.fault(s.key, errors.New("it is to be text in quotes, or a whole number"))
	}
	if s.path {
		if text, err = absolute(f.name, text); err != nil {
			return "", true, f.fault(s.key, err)
		}
	}
	return text, true, nil
}

// checkKeys refuses what the table does not have, and the first in order of the alphabet is named.
func (f *configFile) checkKeys() error {
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		known := slices.ContainsFunc(table, func(s setting) bool { return s.key == key })
		switch {
		case !known:
			return fail(exitLocal, "%s: there is no key %q", f.where(key), key)
		case key == "data" && !f.chosen:
			return f.fault(key, errors.New("the file in the data folder can't say where that is"))
		}
	}
	return nil
}

// chosenName is the file of --config or AUTHSRV_CONFIG; "" is none.
func chosenName(c *cli.Context) string {
	return cmp.Or(c.String("config"), os.Getenv("AUTHSRV_CONFIG"))
}

// chosenFile reads that file; nil is none.
func chosenFile(c *cli.Context) (*configFile, error) {
	name := chosenName(c)
	if name == "" {
		return nil, nil
	}
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, local(err)
	}
	return readConfig(name, true)
}

// dataFolder returns the folder of --data, AUTHSRV_DATA or a chosen file, or the default one. It does not touch it.
func dataFolder(c *cli.Context) (folder, error) {
	file, err := chosenFile(c)
	if err != nil {
		return "", err
	}
	v, err := look(c, settingOf("data"), file)
	return folder(v.text), err
}

// lookUp returns one value of the configuration. It does not matter to it whether the rest is right.
func lookUp(c *cli.Context, key string) (string, error) {
	s := settingOf(key)
	if v, err := look(c, s, nil); err != nil || v.from != fromDefault {
		return v.text, err
	}
	file, err := chosenFile(c)
	if err == nil && file == nil && slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool { return f.Names()[0] == "data" }) {
		var dir folder
		if dir, err = dataFolder(c); err == nil {
			file, err = readConfig(dir.config(), false)
		}
	}
	if err != nil {
		return "", err
	}
	v, err := look(c, s, file)
	return v.text, err
}

// look finds the value of one setting: flag, environment, file, default. An empty variable is none, and so is a nil file.
func look(c *cli.Context, s *setting, file *configFile) (value, error) {
	v := value{c.String(s.flag()), fromFlag, "--" + s.flag()}
	if v.text == "" {
		v = value{os.Getenv(s.environment()), fromEnvironment, s.environment()}
	}
	if v.text == "" && file != nil {
		text, there, err := file.get(s)
		if err != nil {
			return value{}, err
		}
		if there {
			return value{text, fromFile, file.where(s.key)}, nil
		}
	}
	if v.text == "" {
		v = value{s.fallback, fromDefault, ""}
	}
	var err error
	switch {
	case s.key == "data" && v.from == fromDefault:
		if v.text, err = defaultFolder(); err != nil {
			return v, fail(exitLocal, "no place for the data folder, give --data: %w", err)
		}
	case !s.path || v.text == "":
		return v, nil
	}
	v.text, err = filepath.Abs(v.text)
	return v, local(err)
}

// configure reads and judges the whole configuration.
func configure(c *cli.Context) (*configuration, error) {
	file, err := chosenFile(c)
	if err != nil {
		return nil, err
	}
	data, err := look(c, settingOf("data"), file)
	if err != nil {
		return nil, err
	}
	k := &configuration{folder: folder(data.text), file: file}
	if file == nil {
		if k.file, err = readConfig(k.folder.config(), false); err != nil {
			return nil, err
		}
	}
	if err := k.file.checkKeys(); err != nil {
		return nil, err
	}
	for i := range table {
		s := &table[i]
		v, err := look(c, s, k.file)
		if err != nil {
			return nil, err
		}
		if err := s.parse(&k.settings, v.text); err != nil {
			return nil, v.fault(s, err)
		}
		k.values = append(k.values, v)
	}
	if err := k.checkLives(); err != nil {
		return nil, err
	}
	if err := k.checkAddrFile(); err != nil {
		return nil, err
	}
	return k, nil
}

// precedence is where values come from, with what is asked first in front.
var precedence = []string{fromFlag, fromEnvironment, fromFile, fromDefault}

// checkLives holds the lives of sessions against each other. Of two that don't fit, the error is about the one that is asked first: it was given
// with the other one there already.
func (k *configuration) checkLives() error {
	if k.sessionLife <= k.maxLife {
		return nil
	}
	life, most := k.value("session_life"), k.value("max_session_life")
	if slices.Index(precedence, most.from) < slices.Index(precedence, life.from) {
		return k.fault("max_session_life", fmt.Errorf("%s is less than session_life, %s (%s)", most.text, life.text, life.source()))
	}
	return k.fault("session_life", fmt.Errorf("%s is longer than max_session_life, %s (%s)", life.text, most.text, most.source()))
}

// fault is an error about the value of a key.
func (k *configuration) fault(key string, err error) error {
	return k.value(key).fault(settingOf(key), err)
}

// value is that of a key, which must be there.
func (k *configuration) value(key string) *value {
	return &k.values[slices.IndexFunc(table, func(s setting) bool { return s.key == key })]
}

// fault is an error about a value, which says where it stands.
func (v *value) fault(s *setting, err error) error {
	switch v.from {
	case fromFlag:
		return usage("--%s: %w", s.flag(), err)
	case fromFile:
		return fail(exitLocal, "%s: %s: %w", v.where, s.key, err)
	}
	return fail(exitLocal, "%s: %w", v.where, err)
}

// keepListen adds an address to the data folder's own file, unless another file was chosen, or that one has an address. What is in the file
// stays as it is: a first line is above all tables.
func (k *configuration) keepListen(address string) error {
	if _, there := k.file.values["listen"]; there || k.file.chosen {
		return nil
	}
	line, err := toml.Marshal(map[string]string{"listen": address})
	if err != nil {
		return local(err)
	}
	return local(writeWhole(k.file.name, string(line)+k.file.text, 0o600))
}
