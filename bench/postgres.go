package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

const (
	pgRole     = "bench"
	pgPassword = "correct horse battery staple"
)

// postgresPeer is a cluster of its own, with a role that logs in with SCRAM-SHA-256.
func postgresPeer(overTLS bool) *peer {
	p := &peer{
		name: "postgres", title: "PostgreSQL, SCRAM-SHA-256", idle: 96,
		note: "connect, SCRAM (the password stretched once beforehand), the first ReadyForQuery; a process a connection",
	}
	if overTLS {
		p.name, p.title = "postgres-tls", "PostgreSQL, SCRAM-SHA-256 over TLS"
	}
	p.start = func(ctx context.Context, e *environment) (*running, error) { return startPostgres(ctx, e, overTLS) }
	return p
}

// postgresPrograms is the folder of the newest installed version's programs.
func postgresPrograms() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		initdb, err := exec.LookPath("initdb")
		if err != nil {
			return "", &errMissing{"apt-get install postgresql"}
		}
		return filepath.Dir(initdb), nil
	}
	number := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return number(a) - number(b) })), nil
}

// postgresUser is who a cluster belongs to: PostgreSQL refuses to run as root.
func postgresUser(c *exec.Cmd, dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := osuser.Lookup("postgres")
	if err != nil {
		return &errMissing{"there is no user postgres to run it as, and root can't"}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
}

// newCluster makes a cluster in dir/data, with a role, a certificate and its key, and returns the arguments that it is to be started with.
func newCluster(ctx context.Context, programs, dir string) (args []string, err error) {
	if err := writeTLSFiles(dir); err != nil {
		return nil, err
	}
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(pgPassword+"\n"), 0o600); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(programs, "initdb"), "-D", data, "-U", pgRole, "--pwfile", secret, "--auth", "scram-sha-256", "--locale", "C", "--encoding", "UTF8")
	initdb.Dir = dir
	if err := postgresUser(initdb, dir); err != nil {
		return nil, err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	// Every client comes from an address of its own.
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("host all all 127.0.0.0/8 scram-sha-256\n"), 0o600); err != nil {
		return nil, err
	}
	args = []string{"-D", data}
	for _, setting := range []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "ssl=on",
		"ssl_cert_file=" + filepath.Join(dir, "certificate"), "ssl_key_file=" + filepath.Join(dir, "key"),
	} {
		args = append(args, "-c", setting)
	}
	return args, nil
}

func startPostgres(ctx context.Context, e *environment, overTLS bool) (*running, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(e.dir, "postgres-")
	if err != nil {
		return nil, err
	}
	args, err := newCluster(ctx, programs, dir)
	if err != nil {
		return nil, err
	}
	address, port, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c := exec.Command(filepath.Join(programs, "postgres"), append(args, "-c", "port="+port)...)
	c.Dir = dir
	if err := postgresUser(c, dir); err != nil {
		return nil, err
	}
	p, err := launch(e.dir, "postgres", c)
	if err != nil {
		return nil, err
	}
	p.stop = syscall.SIGINT // "fast": it does not wait for clients
	login := &pgLogin{user: pgRole, database: "postgres"}
	if overTLS {
		login.tls = clientTLS()
	}
	hold := func(worker int) (io.Closer, error) {
		raw, err := dial(worker, address)
		if err != nil {
			return nil, err
		}
		c, err := login.on(raw)
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return c, nil
	}
	if err := p.answering(ctx, func() error { // until it is ready it answers, but with an error
		c, err := hold(0)
		if err == nil {
			err = c.Close()
		}
		return err
	}); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return &running{process: p, login: closing(hold), hold: hold}, nil
}
