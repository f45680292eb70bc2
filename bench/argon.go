package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/credential"
)

// A clientRow is what a login is for a client that stretches its password, which the load does not.
type clientRow struct {
	Argon2id    float64 `json:"argon2id_ms"` // of a new record's parameters
	Argon2idCPU float64 `json:"argon2id_cpu_ms"`
	Parameters  string  `json:"argon2id"`
	Login       float64 `json:"login_ms"` // package client as apps use it, from Dial to Welcome
	Times       int     `json:"times"`
}

// measureClient registers an account with package client and logs in as often, against a server that runs.
func measureClient(ctx context.Context, address, fingerprint string, times int) (c *clientRow, err error) {
	kdf := credential.DefaultKDF()
	c = &clientRow{Parameters: fmt.Sprintf("m = %d MiB, t = %d, p = %d", kdf.MemoryKiB/1024, kdf.Time, kdf.Lanes), Times: times}
	name := make([]byte, 8)
	if _, err := rand.Read(name); err != nil {
		return nil, err
	}
	user := "real-" + hex.EncodeToString(name)
	target := address + "#" + fingerprint
	k, err := client.Dial(ctx, target, nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(k.Register(ctx, user, pgPassword, nil), k.Close()); err != nil {
		return nil, err
	}
	var walls, cpus, logins []float64
	for range times { // the one beside the other: the machine's speed moves
		wall, cpu, err := stretch(kdf)
		if err != nil {
			return nil, err
		}
		walls, cpus = append(walls, ms(wall)), append(cpus, ms(cpu))
		start := time.Now()
		k, err := client.Dial(ctx, target, nil)
		if err != nil {
			return nil, err
		}
		s, err := k.Login(ctx, user, pgPassword, nil)
		if err != nil {
			return nil, errors.Join(err, k.Close())
		}
		logins = append(logins, ms(time.Since(start)))
		if err := s.Close(); err != nil {
			return nil, err
		}
	}
	c.Argon2id, c.Argon2idCPU, c.Login = median(walls), median(cpus), median(logins)
	return c, nil
}

// stretch stretches a password once, and says how long that took and how much of a processor.
func stretch(kdf credential.KDF) (wall, cpu time.Duration, err error) {
	before, err := processCPU()
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if _, err := credential.Derive([]byte(pgPassword), [16]byte{1}, "bench", [16]byte{2}, kdf); err != nil {
		return 0, 0, err
	}
	wall = time.Since(start)
	after, err := processCPU()
	return wall, after - before, err
}

func processCPU() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

func (c *clientRow) String() string {
	return fmt.Sprintf("The client's own work: Argon2id (%s) %.0f ms, %.0f ms of CPU time; a whole login with package client, stretching included: %.0f ms.\n"+
		"In the tables no client stretches: each key was made once beforehand (ours: made up; PostgreSQL: PBKDF2, once).\n", c.Parameters, c.Argon2id, c.Argon2idCPU, c.Login)
}
