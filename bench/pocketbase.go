package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const pocketbaseUsers = 8

func pocketbasePeer() *peer {
	var binary string
	return &peer{
		name: "pocketbase", title: "PocketBase 0.36 (bcrypt)", idle: 200,
		note: "auth-with-password over HTTP without TLS: the password is sent, and hashed by the server; an idle connection is one that is kept alive behind it",
		start: func(ctx context.Context, e *environment) (*running, error) {
			if binary == "" {
				made := filepath.Join(e.dir, "pocketbase")
				if out, err := exec.CommandContext(ctx, "go", "build", "-o", made, "./pocketbase").CombinedOutput(); err != nil {
					return nil, &errMissing{fmt.Sprintf("go -C bench build ./pocketbase: %v: %s", err, out)}
				}
				binary = made
			}
			return startPocketbase(ctx, e, binary)
		},
	}
}

func startPocketbase(ctx context.Context, e *environment, binary string) (*running, error) {
	address, _, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c := exec.Command(binary, filepath.Join(e.dir, "pocketbase-data"), address, strconv.Itoa(pocketbaseUsers))
	c.Env = append(os.Environ(), "NO_COLOR=1")
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	p, err := launch(e.dir, "pocketbase", c)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(in, pgPassword+"\n"); err != nil {
		return nil, p.fault(errors.Join(err, p.Stop()))
	}
	hold := func(worker int) (io.Closer, error) {
		raw, err := dial(worker, address)
		if err != nil {
			return nil, err
		}
		if err := pocketbaseLogin(raw, address, worker%pocketbaseUsers); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return raw, nil
	}
	if err := p.connectable(ctx, address); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return &running{process: p, login: closing(hold), hold: hold}, nil
}

// pocketbaseLogin sends a password and takes the token.
func pocketbaseLogin(c net.Conn, address string, n int) error {
	body := fmt.Sprintf(`{"identity":"user%d@example.org","password":%q}`, n, pgPassword)
	request, err := http.NewRequest(http.MethodPost, "http://"+address+"/api/collections/users/auth-with-password", strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if err := request.Write(c); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(c), request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var got struct{ Token, Message string }
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || got.Token == "" {
		return fmt.Errorf("%s: %s", response.Status, got.Message)
	}
	return nil
}
