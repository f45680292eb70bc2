package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/server"
)

// settings are what the configuration says, by its types.
type settings struct {
	data, listen, addrFile   string
	registration             account.Registration
	policy                   credential.Policy
	passphraseFile           string
	sessionLife, maxLife     time.Duration
	auditRetention           time.Duration
	registrationLimit        int // a minute, from one address; 0: none
	operationLimit           int // a minute, of one account; 0: none
	maxConnections, maxLobby int
	maxPerAccount            int
	penalties                server.Penalties // but for what is exempt
	exempt                   []netip.Prefix
	grace                    time.Duration
	http                     string // "": off
	logFormat                string
	logLevel                 slog.Level
}

// setting is one row of the configuration. Its name in the environment and that of its flag follow from its key.
type setting struct {
	key      string
	value    string // what help calls it
	help     string // has the value in backquotes
	fallback string
	reload   bool // SIGHUP changes it
	path     bool // of a file or a folder: a relative one in a file is the file's
	parse    func(*settings, string) error
}

const (
	defaultListen = "127.0.0.1:7022"
	off           = "off"
)

// table is the whole configuration: flags, environment, file, `authsrv config` and the documentation follow it.
var table = []setting{
	{key: "data", value: "DIR", help: "the data folder is `DIR`", path: true,
		parse: func(s *settings, text string) error { s.data = text; return nil }},
	{key: "listen", value: "HOST:PORT", help: "listen at `HOST:PORT`; port 0 picks one", fallback: defaultListen,
		parse: func(s *settings, text string) error { s.listen = text; return checkListen(text) }},
	{key: "addr_file", value: "FILE", help: "write the bound address to `FILE` once it is listening", path: true,
		parse: func(s *settings, text string) error { s.addrFile = text; return nil }},
	{key: "registration", value: "MODE", help: "who may register, `MODE` is open, closed, checked or invite", fallback: "open", reload: true,
		parse: parseRegistration},
	{key: "registration_limit", value: "N", help: "at most `N` registrations a minute from one address; 0 for no limit", fallback: "60",
		parse: func(s *settings, text string) (err error) {
			s.registrationLimit, err = count(text, 0, 1_000_000)
			return
		}},
	{key: "operation_limit", value: "N", help: "at most `N` operations with the password a minute in one account; 0 for no limit", fallback: "10",
		parse: func(s *settings, text string) (err error) {
			s.operationLimit, err = count(text, 0, 1_000_000)
			return
		}},
	{key: "password_policy", value: "POLICY", help: "what a password must fulfil, `POLICY` is strength, classes or length:N", fallback: "strength",
		reload: true, parse: parsePolicy},
	{key: "passphrase_file", value: "FILE", help: "the key file is sealed with the one line in `FILE`", path: true,
		parse: func(s *settings, text string) error { s.passphraseFile = text; return nil }},
	{key: "session_life", value: "TIME", help: "a session lives for `TIME`, such as 24h, where its client asks for nothing else", fallback: "24h",
		reload: true, parse: func(s *settings, text string) (err error) {
			s.sessionLife, err = duration(text, time.Minute, longest)
			return
		}},
	{key: "max_session_life", value: "TIME", help: "no session lives longer than `TIME`", fallback: "720h",
		reload: true, parse: func(s *settings, text string) (err error) {
			s.maxLife, err = duration(text, time.Minute, longest)
			return
		}},
	{key: "audit_retention", value: "TIME", help: "audit records are kept for `TIME`", fallback: "8760h",
		parse: func(s *settings, text string) (err error) {
			s.auditRetention, err = duration(text, 24*time.Hour, 100*365*24*time.Hour)
			return err
		}},
	{key: "max_connections", value: "N", help: "serve at most `N` connections", fallback: "20000",
		reload: true, parse: func(s *settings, text string) (err error) { s.maxConnections, err = count(text, 1, 1_000_000); return }},
	{key: "max_handshakes", value: "N", help: "at most `N` connections that are not logged in", fallback: "1024",
		reload: true, parse: func(s *settings, text string) (err error) { s.maxLobby, err = count(text, 2, 1_000_000); return }},
	{key: "max_per_account", value: "N", help: "at most `N` connections that are logged in to one account", fallback: "64",
		reload: true, parse: func(s *settings, text string) (err error) { s.maxPerAccount, err = count(text, 1, 1_000_000); return }},
	{key: "penalties", value: "LIST", help: "what offences cost their network, `LIST` is on, off or such as garbage:5s,least:30s", fallback: "on",
		reload: true, parse: parsePenalties},
	{key: "penalty_exempt", value: "LIST", help: "no penalties for the networks in `LIST`, or none", fallback: "127.0.0.0/8,::1/128",
		reload: true, parse: parseExempt},
	{key: "grace", value: "TIME", help: "a stop lets logins that have begun go on for `TIME`", fallback: "5s",
		reload: true, parse: func(s *settings, text string) (err error) {
			s.grace, err = duration(text, time.Second, 10*time.Minute)
			return
		}},
	{key: "http", value: "HOST:PORT", help: "answer at `HOST:PORT` to /livez, /readyz and /metrics; off is nowhere", fallback: off,
		parse: parseHTTP},
	{key: "log_format", value: "FORMAT", help: "the log on standard error has `FORMAT` text or json", fallback: "text",
		parse: parseLogFormat},
	{key: "log_level", value: "LEVEL", help: "log from `LEVEL` debug, info, warn or error on", fallback: "info",
		reload: true, parse: parseLogLevel},
}

func (s *setting) flag() string        { return strings.ReplaceAll(s.key, "_", "-") }
func (s *setting) environment() string { return "AUTHSRV_" + strings.ToUpper(s.key) }

// settingFlag makes a flag of a row.
func settingFlag(key string) *cli.StringFlag {
	s := settingOf(key)
	f := &cli.StringFlag{Name: s.flag(), Usage: s.help, DefaultText: s.fallback}
	if key == "data" {
		f.DefaultText = "$XDG_DATA_HOME/authsrv, else ~/.local/share/authsrv"
		if runtime.GOOS == "windows" {
			f.DefaultText = `%LocalAppData%\authsrv`
		}
	}
	return f
}

// settingOf finds a row, which must be there.
func settingOf(key string) *setting {
	for i := range table {
		if table[i].key == key {
			return &table[i]
		}
	}
	panic("no setting " + key)
}

// longest bounds the lives of sessions: ten years.
const longest = 87_600 * time.Hour

func duration(text string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most || d%time.Second != 0 {
		return 0, fmt.Errorf("%q is not a time of %v to %v in whole seconds, such as 90s or 24h", text, least, most)
	}
	return d, nil
}

func count(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most || strconv.Itoa(n) != text {
		return 0, fmt.Errorf("%q is not a number of %d to %d", text, least, most)
	}
	return n, nil
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

var registrations = map[string]account.Registration{
	"open": account.RegistrationOpen, "closed": account.RegistrationClosed, "checked": account.RegistrationChecked,
	"invite": account.RegistrationInvited,
}

func parseRegistration(s *settings, text string) error {
	mode, known := registrations[text]
	if !known {
		return fmt.Errorf("%q is not open, closed, checked or invite", text)
	}
	s.registration = mode
	return nil
}

func parsePolicy(s *settings, text string) (err error) {
	if s.policy, err = credential.ParsePolicy(text); err != nil {
		return fmt.Errorf("%q is not strength, classes or length:N with N of %d to %d", text, credential.PasswordMin, credential.PasswordMax)
	}
	return nil
}

// parsePenalties takes the defaults, and what is given in their place.
func parsePenalties(s *settings, text string) error {
	if s.penalties = (server.Penalties{}); text == off {
		return nil
	}
	s.penalties = server.DefaultPenalties()
	s.penalties.Exempt = nil
	if text == "on" {
		return nil
	}
	seen := make(map[string]bool)
	for item := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(item), ":")
		if seen[name] {
			return fmt.Errorf("%q is there twice", name)
		}
		seen[name] = true
		d, err := duration(value, 0, 24*time.Hour)
		offence, known := server.OffenceOf(name)
		switch {
		case !known && name != "least" && name != "most":
			return fmt.Errorf("%q is not on, off, or NAME:TIME,… with the names garbage, timeout, violation, refused, dropped, least and most", text)
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case known:
			s.penalties.Costs[offence] = d
		case d == 0:
			return fmt.Errorf("%s is no time", name)
		case name == "least":
			s.penalties.Least = d
		default:
			s.penalties.Most = d
		}
	}
	if s.penalties.Most < s.penalties.Least {
		return fmt.Errorf("most is %v, which is less than least, %v", s.penalties.Most, s.penalties.Least)
	}
	return nil
}

func parseExempt(s *settings, text string) error {
	if s.exempt = nil; text == "none" {
		return nil
	}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		p, err := netip.ParsePrefix(item)
		if a, addressErr := netip.ParseAddr(item); addressErr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("%q is not none, or networks such as 192.0.2.0/24,2001:db8::/32", item)
		}
		s.exempt = append(s.exempt, p)
	}
	return nil
}

func parseHTTP(s *settings, text string) error {
	if s.http = text; text == off {
		s.http = ""
		return nil
	}
	return checkListen(text)
}

func parseLogFormat(s *settings, text string) error {
	if s.logFormat = text; text != "text" && text != "json" {
		return fmt.Errorf("%q is not text or json", text)
	}
	return nil
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func parseLogLevel(s *settings, text string) error {
	level, known := logLevels[text]
	if !known {
		return fmt.Errorf("%q is not debug, info, warn or error", text)
	}
	s.logLevel = level
	return nil
}

// absolute resolves a path in a file from the file's folder.
func absolute(file, path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	if path == "" {
		return "", errors.New("it is empty")
	}
	return filepath.Abs(filepath.Join(filepath.Dir(file), path))
}
