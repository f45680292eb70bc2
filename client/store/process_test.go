package store_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/authsrv/authsrv/client/store"
)

// The test binary started again with these set is a second process: it puts accounts with its name into the folder.
const (
	processDir  = "STORE_TEST_DIR"
	processName = "STORE_TEST_NAME"
	perProcess  = 10 // a process may find the lock taken at each of its looks until the other one is done, and waits 10 s for it
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(processDir); dir != "" {
		if err := fill(dir, os.Getenv(processName)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func fill(dir, name string) error {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	for i := range perProcess {
		if err := s.PutAccount(testAccount(fmt.Sprintf("%s.%d", name, i))); err != nil {
			return err
		}
		if err := s.PutServer(testServer(fmt.Sprintf("%s.%d:1", name, i))); err != nil {
			return err
		}
	}
	return nil
}

// Processes that change the same files at once lose nothing.
func TestConcurrentProcesses(t *testing.T) {
	dir := folder(t)
	names := []string{"one", "two"}
	var running []*exec.Cmd
	for _, name := range names {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), processDir+"="+dir, processName+"="+name)
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		running = append(running, cmd)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a process failed: %v", err)
		}
	}
	s := open(t, dir)
	for _, name := range names {
		for i := range perProcess {
			if _, ok, err := s.Account([16]byte{1}, fmt.Sprintf("%s.%d", name, i)); !ok || err != nil {
				t.Fatalf("account %s.%d: %v, %v", name, i, ok, err)
			}
			if _, ok, err := s.Server(fmt.Sprintf("%s.%d:1", name, i)); !ok || err != nil {
				t.Fatalf("server %s.%d: %v, %v", name, i, ok, err)
			}
		}
	}
}
