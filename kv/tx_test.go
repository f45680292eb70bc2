package kv

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is an engine that answers every Commit, and every Get, with the next of its errors.
type scripted struct {
	commits, gets []error
	calls         []int // the number of writes of each Commit
}

func (s *scripted) Get(context.Context, []byte) (Entry, error) {
	if len(s.gets) == 0 {
		return Entry{}, nil
	}
	err := s.gets[0]
	s.gets = s.gets[1:]
	return Entry{}, err
}

func (s *scripted) Commit(_ context.Context, _ []Read, writes []Write) (Version, error) {
	s.calls = append(s.calls, len(writes))
	if len(s.commits) == 0 {
		return 1, nil
	}
	err := s.commits[0]
	s.commits = s.commits[1:]
	return 0, err
}

func (s *scripted) Scan(context.Context, []byte, []byte, int) ([]Entry, Version, error) {
	panic("not scripted")
}
func (s *scripted) Watch(context.Context, []byte, Version) iter.Seq2[Event, error] {
	panic("not scripted")
}
func (s *scripted) Close() error { return nil }

func writeA(tx *Tx) error { tx.Put([]byte("a"), nil); return nil }

func TestUpdateRetriesNothingButConflicts(t *testing.T) {
	for _, test := range []struct {
		name    string
		commits []error
		want    error
		calls   int
	}{
		{"success", nil, nil, 1},
		{"conflicts", []error{ErrConflict, ErrConflict}, nil, 3},
		{"unknown outcome", []error{ErrUnknownOutcome}, ErrUnknownOutcome, 1},
		{"unknown outcome after a conflict", []error{ErrConflict, ErrUnknownOutcome}, ErrUnknownOutcome, 2},
		{"closed", []error{ErrClosed}, ErrClosed, 1},
		{"too large", []error{ErrTooLarge}, ErrTooLarge, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &scripted{commits: test.commits}
				if err := Update(t.Context(), e, writeA); !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
				if len(e.calls) != test.calls {
					t.Errorf("%d commits, want %d", len(e.calls), test.calls)
				}
			})
		})
	}
}

func TestUpdateBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &scripted{}
		for range 10000 {
			e.commits = append(e.commits, ErrConflict)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := Update(ctx, e, writeA)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		// A pause is half of backoffMost on average.
		if n, least, most := len(e.calls), int(time.Minute/backoffMost), int(4*time.Minute/backoffMost); n < least || n > most {
			t.Errorf("%d attempts in a minute, want %d to %d", n, least, most)
		}
	})
}

func TestUpdateError(t *testing.T) {
	broken := errors.New("broken")
	readAB := func(then error) func(*Tx) error {
		return func(tx *Tx) error {
			tx.Get([]byte("a"))
			tx.Get([]byte("b"))
			return then
		}
	}
	for _, test := range []struct {
		name    string
		engine  scripted
		fn      func(*Tx) error
		want    error
		commits int
	}{
		{"of a read", scripted{gets: []error{broken}}, readAB(nil), broken, 0},
		{"of fn, on a broken read", scripted{gets: []error{broken}}, readAB(ErrClosed), ErrClosed, 0},
		{"of fn, on good reads", scripted{}, readAB(broken), broken, 1},
		{"of fn, on reads that can't be checked", scripted{commits: []error{ErrUnknownOutcome}}, readAB(broken), broken, 1},
		{"of fn, without reads", scripted{}, func(*Tx) error { return broken }, broken, 0},
		{"of Put", scripted{}, func(tx *Tx) error { tx.Put(nil, nil); return writeA(tx) }, ErrInvalid, 0},
		{"of Delete", scripted{}, func(tx *Tx) error { tx.Delete([]byte(strings.Repeat("a", MaxKey+1))); return nil }, ErrTooLarge, 0},
		{"of a long value", scripted{}, func(tx *Tx) error { tx.Put([]byte("a"), make([]byte, MaxValue+1)); return nil }, ErrTooLarge, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Update(t.Context(), &test.engine, test.fn)
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if len(test.engine.calls) != test.commits {
				t.Errorf("%d commits, want %d", len(test.engine.calls), test.commits)
			}
			for _, n := range test.engine.calls {
				if n != 0 {
					t.Errorf("%d writes, want none", n)
				}
			}
		})
	}
}
