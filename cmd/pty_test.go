//go:build unix

package cmd_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// What the scripts of authcli need besides:
//
//	notty CODE FILE PROGRAM [ARG...]   runs a program that has no terminal to ask on, wherever the tests run, with the file as
//	                                   standard input; otherwise as exits
//	edit FILE PATTERN TEXT             puts text in the place of what matches, which must be there; \r and \n are written so
//	lasts DAYS                         holds "expires" of the document in stdout against that many days from now
func init() {
	commands["notty"] = notty
	commands["edit"] = edit
	commands["lasts"] = lasts
}

func notty(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) >= 3, neg, "notty CODE FILE PROGRAM [ARG...]")
	stdin, err := os.Open(ts.MkAbs(args[1]))
	ts.Check(err)
	defer stdin.Close()
	cmd := command(ts, args[2:])
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, ts.Stdout(), ts.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a new session has no terminal
	ts.Check(cmd.Start())
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	holdCode(ts, args[0], cmd.Wait())
}

var ends = strings.NewReplacer(`\r`, "\r", `\n`, "\n")

func edit(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 3, neg, "edit FILE PATTERN TEXT")
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	text := ts.ReadFile(args[0])
	if !pattern.MatchString(text) {
		ts.Fatalf("%s does not match %s", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(pattern.ReplaceAllString(text, ends.Replace(args[2]))), 0o600))
}

func lasts(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, neg, "lasts DAYS")
	days, err := strconv.Atoi(args[0])
	ts.Check(err)
	var document struct{ Expires time.Time }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &document))
	want := time.Now().Add(time.Duration(days) * 24 * time.Hour)
	if off := want.Sub(document.Expires); off < -time.Minute || off > time.Hour {
		ts.Fatalf("it expires at %v, not at %v", document.Expires, want)
	}
}
