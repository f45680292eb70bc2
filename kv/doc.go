// Package kv is what authsrv asks of a store: ordered keys, and optimistic transactions over
// them. Five methods, an [Engine], can be had from an embedded store, from etcd, and from a table in
// an SQL database; STORAGE 1 says how. [Update] makes transactions of them:
//
//	err := kv.Update(ctx, engine, func(tx *kv.Tx) error {
//		_, taken, err := tx.Get(name)
//		if err != nil {
//			return err
//		}
//		if taken {
//			return ErrTaken
//		}
//		tx.Put(name, record)
//		return nil
//	})
//
// Package kvtest holds the tests that every engine must pass.
package kv
