package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
)

// resume finishes a rewrapping that was cut short.
func (r *Ring) resume(ctx context.Context) {
	if len(r.Keys().WrappingKeys) < 2 || r.wrapping.try() != nil {
		return
	}
	passphrase := r.startPassphrase()
	r.jobs.Go(func() {
		defer r.wrapping.give()
		defer clear(passphrase)
		_, _ = r.rewrap(ctx, passphrase, func(int, int) {}) // it says itself what is wrong
	})
}

// rotateWrapping makes a new wrapping key and rewraps, in a goroutine that does not end with who asked for it where Run runs.
func (r *Ring) rotateWrapping(ctx context.Context, passphrase []byte, progress func(done, total int)) (*Rotated, error) {
	if err := r.wrapping.try(); err != nil {
		return nil, err
	}
	j := &job{ended: make(chan struct{}), moved: make(chan struct{}, 1)}
	r.mu.Lock()
	base := r.base
	if base == nil {
		base, j.alone = ctx, true
	}
	r.jobs.Add(1) // before Run, which waits for it, can end
	r.mu.Unlock()
	passphrase = bytes.Clone(passphrase)
	go func() {
		defer r.jobs.Done()
		defer close(j.ended)
		defer r.wrapping.give()
		defer clear(passphrase)
		j.rotated, j.err = r.wrap(base, passphrase, j.tell)
	}()
	return j.follow(ctx, progress)
}

// wrap finishes what was begun, or begins and finishes another one.
func (r *Ring) wrap(ctx context.Context, passphrase []byte, tell func(done, total int)) (*Rotated, error) {
	if err := r.check(passphrase); err != nil {
		return nil, err
	}
	if len(r.Keys().WrappingKeys) > 1 {
		found, err := r.rewrap(ctx, passphrase, tell)
		if err != nil {
			return nil, err
		}
		if len(r.Keys().WrappingKeys) == 1 {
			done := r.rotated(keyfile.KindWrapping)
			done.Finished, done.Records = true, &found.Records
			return done, nil
		} // what is left does not open: that is no reason to keep the current key
	}
	r.changing.take()
	err := r.change(passphrase, func(k *keyfile.Keys) error { return k.RotateWrapping(rand.Reader, time.Now()) })
	r.changing.give()
	if err != nil {
		return nil, err
	}
	done := r.rotated(keyfile.KindWrapping)
	if err := r.note(ctx, keyfile.KindWrapping); err != nil {
		return nil, err
	}
	found, err := r.rewrap(ctx, passphrase, tell)
	if err != nil {
		return nil, err
	}
	done.Records = &found.Records
	for _, n := range found.Left {
		done.Damaged += n
	}
	return done, nil
}

// rewrap seals all records under the current key, and then removes those keys from the file that nothing is under any more.
func (r *Ring) rewrap(ctx context.Context, passphrase []byte, tell func(done, total int)) (account.Rewrapped, error) {
	found, err := r.accounts.Rewrap(ctx, tell)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("rewrapping failed", "error", err)
		}
		return found, err
	}
	if found.Damaged != nil {
		r.log.Error("records do not open: the wrapping key that they are under is kept", "records", fmt.Sprint(found.Left), "error", found.Damaged)
	}
	kept := func(w keyfile.WrappingKey) bool { return w.ID == r.Keys().CurrentWrapping || found.Left[w.ID] > 0 }
	if !slices.ContainsFunc(r.Keys().WrappingKeys, func(w keyfile.WrappingKey) bool { return !kept(w) }) {
		return found, nil
	}
	r.changing.take()
	defer r.changing.give()
	err = r.change(passphrase, func(k *keyfile.Keys) error {
		k.WrappingKeys = slices.DeleteFunc(k.WrappingKeys, func(w keyfile.WrappingKey) bool { return !kept(w) })
		return nil
	})
	if err == nil {
		r.log.Info("records rewrapped", "records", found.Records)
	} else {
		r.log.Error("rewrapping failed", "error", err)
	}
	return found, err
}

// job is a rewrapping that somebody may follow.
type job struct {
	ended   chan struct{}
	rotated *Rotated
	err     error
	alone   bool // it ends with who follows it

	moved       chan struct{}
	mu          sync.Mutex // guards what follows
	done, total int
}

func (j *job) tell(done, total int) {
	j.mu.Lock()
	j.done, j.total = done, total
	j.mu.Unlock()
	select {
	case j.moved <- struct{}{}:
	default:
	}
}

// follow tells how far a job has come until it has ended, or ctx has.
func (j *job) follow(ctx context.Context, progress func(done, total int)) (*Rotated, error) {
	show := func() {
		j.mu.Lock()
		done, total := j.done, j.total
		j.mu.Unlock()
		if progress != nil && total > 0 {
			progress(done, total)
		}
	}
	var last time.Time
	for {
		alive := time.NewTimer(heard)
		select {
		case <-j.ended:
			alive.Stop()
			show()
			return j.rotated, j.err
		case <-ctx.Done():
			alive.Stop()
			if j.alone {
				<-j.ended
			}
			return nil, ctx.Err()
		case <-j.moved:
			if time.Since(last) >= tellEvery {
				last = time.Now()
				show()
			}
		case <-alive.C:
			show()
		}
		alive.Stop()
	}
}
