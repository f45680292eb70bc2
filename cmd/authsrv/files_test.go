package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestOpenFiles(t *testing.T) {
	for _, c := range []struct {
		files, configured, want int
		warned                  bool
	}{
		{-1, 20_000, 20_000, false}, {1 << 20, 20_000, 20_000, false}, {65_536, 20_000, 20_000, false}, {1024, 30_000, 512, true}, {1024, 20_000, 512, false}, {1024, 500, 500, false},
		{528, 30_000, 16, true}, {527, 20_000, 0, false}, {100, 20_000, 0, false}, {516, 4, 4, false}, {515, 4, 0, false},
	} {
		var log bytes.Buffer
		s := &settings{maxConnections: c.configured, maxLobby: 1024}
		rules, err := s.serverRulesWithin(c.files, slog.New(slog.NewTextHandler(&log, nil)))
		var f *failure
		if (err != nil) != (c.want == 0) || err != nil && (!errors.As(err, &f) || f.code != exitLocal) || err == nil && rules.MaxConnections != c.want {
			t.Errorf("%+v: %d connections, %v", c, rules.MaxConnections, err)
		}
		if warned := strings.Count(log.String(), "level=WARN") == 1; warned != c.warned {
			t.Errorf("%+v: the log is %q", c, log.String())
		}
	}
	if _, err := (&settings{}).serverRulesWithin(1024, nil); err != nil {
		t.Error(err)
	}
	if n := openFiles(); n == 0 {
		t.Error("no file may be open")
	}
}
