package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
)

func Example() {
	ctx := context.Background()
	dialer, fingerprint := exampleServer() // yours needs no Dialer
	config := &client.Config{Store: store.Memory(), Dialer: dialer}

	// At first contact nothing is known of the server: a person compares its fingerprint.
	_, err := client.Dial(ctx, "auth.example.org", config)
	var unknown *client.UnknownServerError
	if errors.As(err, &unknown) && unknown.Fingerprint == fingerprint {
		config.Identity = unknown.Fingerprint
	}

	c, err := client.Dial(ctx, "auth.example.org", config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	if err := c.Register(ctx, "alice", "alice", nil); err != nil { // a Rule
		fmt.Println("register:", err)
	}
	if err := c.Register(ctx, "alice", "correct horse battery staple", nil); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.Login(ctx, "alice", "correct battery horse staple", nil); errors.Is(err, client.ErrDenied) {
		fmt.Println("login:", err)
	}
	s, err := c.Login(ctx, "alice", "correct horse battery staple", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	who, err := s.WhoAmI(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("logged in as", who.Name)
	names, err := s.List(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.Join(names, " "))

	// Output:
	// register: the password is too short: at least 8 bytes
	// login: wrong name or password
	// logged in as alice
	// root home etc lib media mnt
}

// What a run of a program remembers, the next one resumes, until the session has ended.
func ExampleClient_Resume() {
	ctx := context.Background()
	dialer, fingerprint := exampleServer()
	config := &client.Config{Store: store.Memory(), Dialer: dialer} // or store.Open(dir)
	address := "auth.example.org:7022#" + fingerprint
	const name, password = "alice", "correct horse battery staple"
	run := func() error {
		c, err := client.Dial(ctx, address, config)
		if err != nil {
			return err
		}
		defer c.Close()
		s, err := c.Resume(ctx)
		if client.LoginNeeded(err) { // at first, and when the session has expired or was ended
			fmt.Println(err)
			s, err = c.Login(ctx, name, password, nil)
		}
		if err != nil {
			return err
		}
		defer s.Close()
		fmt.Println("logged in as", s.Name())
		return nil
	}

	c, err := client.Dial(ctx, address, config)
	if err == nil {
		err = c.Register(ctx, name, password, nil)
		c.Close()
	}
	for range 2 {
		err = errors.Join(err, run())
	}
	if err != nil {
		fmt.Println(err)
	}

	// Output:
	// not logged in
	// logged in as alice
	// logged in as alice
}
