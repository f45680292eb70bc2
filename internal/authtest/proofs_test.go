package authtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// proofs finds what PROTOCOL 6 makes of the messages of a connection, and checks every signature and confirmation.
func (r *recorder) proofs(rec *connectionRec, frames []frame, keys secretKeys) (all []proofRec) {
	t := r.t
	base := credential.Transcript{
		Preface: [8]byte(frames[0].bytes), Handshake: [32]byte(rec.H), RealmID: r.server.Accounts.RealmID(),
		ClientStatic: noiseconn.StaticFromPrivate(keys.clientStatic).Public,
	}
	var tr credential.Transcript // of the attempt
	var welcome wire.Welcome
	var resumeKey []byte
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", rec.ID, err)
		}
	}
	require := func(ok bool, what string) {
		t.Helper()
		if !ok {
			t.Fatalf("%s: %s", rec.ID, what)
		}
	}
	for _, f := range frames[3:] {
		switch b := f.plaintext; wire.TypeOf(b) {
		case wire.TypeAuthStart:
			m, err := wire.ParseAuthStart(b)
			check(err)
			tr = base
			tr.Purpose, tr.Method, tr.Options, tr.OfferedMethods = uint8(m.Purpose), uint8(m.Method), m.Lifetime, m.Offered
			tr.LoginName, tr.ClientNonce = string(m.Name), m.ClientNonce
		case wire.TypeChallenge, wire.TypeRegisterParams:
			var c wire.Challenge
			if m, err := wire.ParseRegisterParams(b); err == nil {
				c = m.Challenge
			} else {
				c, err = wire.ParseChallenge(b)
				check(err)
			}
			tr.ServerNonce, tr.Salt, tr.KDF = c.ServerNonce[:], c.Salt[:], credential.KDF(c.KDF)
		case wire.TypeRegisterFinish:
			m, err := wire.ParseRegisterFinish(b)
			check(err)
			digest := sha256.Sum256(m.AppendSigned(nil))
			tr.OpDigest = digest[:]
			p := proofOf(&tr)
			p.NewKey, p.NewKeyProof = "first", m.Signature[:]
			require(r.verify("first", "new-key-proof", p.T, p.NewKeyProof), "new-key proof")
			all = append(all, p)
		case wire.TypeProof:
			m, err := wire.ParseProof(b)
			check(err)
			p := proofOf(&tr)
			if p.Key = "first"; rec.ID == "denied login" {
				p.Key = "wrong"
			}
			p.Proof = m.Proof[:]
			require(r.verify(p.Key, "client-proof", p.T, p.Proof), "proof")
			all = append(all, p)
		case wire.TypeWelcome:
			m, err := wire.ParseWelcome(b)
			check(err)
			welcome = m
			if tr.Purpose == credential.PurposeLogin {
				p := &all[len(all)-1]
				p.Confirm, p.ResumeKey = m.Confirm[:], m.ResumeKey
				key := [32]byte(r.keyOf(p.Key).ServerKey)
				require(credential.VerifyConfirm(key, [32]byte(p.T), [64]byte(p.Proof), m.Confirm), "confirm")
				break
			}
			for _, c := range r.out.Connections { // the resume key of the login
				for _, p := range c.Proofs {
					if p.ResumeKey != nil {
						resumeKey = p.ResumeKey
					}
				}
			}
			tr.LoginName, tr.SessionID, tr.AccountID = string(m.Name), m.SessionID[:], m.AccountID[:]
			p := proofOf(&tr)
			p.ResumeKey, p.ResumeConfirm = resumeKey, m.Confirm[:]
			require(credential.VerifyResumeConfirm([32]byte(resumeKey), [32]byte(p.T), m.Confirm), "resume confirm")
			all = append(all, p)
		case wire.TypeOpStart:
			m, err := wire.ParseOpStart(b)
			check(err)
			tr = base
			tr.Purpose, tr.Method, tr.OfferedMethods = credential.PurposeOperation, 1, []byte{1}
			tr.LoginName, tr.ClientNonce = string(welcome.Name), m.ClientNonce
			tr.SessionID, tr.AccountID = welcome.SessionID[:], welcome.AccountID[:]
		case wire.TypeOpChallenge:
			m, err := wire.ParseOpChallenge(b)
			check(err)
			tr.ServerNonce, tr.Salt, tr.KDF = m.ServerNonce[:], m.Salt[:], credential.KDF(m.KDF)
		case wire.TypeChangePassword:
			m, err := wire.ParseChangePassword(b)
			check(err)
			digest := sha256.Sum256(m.AppendSigned(nil))
			tr.OpDigest = digest[:]
			p := proofOf(&tr)
			p.Key, p.Proof, p.NewKey, p.NewKeyProof = "first", m.Proof[:], "second", m.NewProof[:]
			require(bytes.Equal(m.Record.PublicKey[:], r.keyOf("second").A), "A")
			require(r.verify(p.Key, "client-proof", p.T, p.Proof), "proof")
			require(r.verify(p.NewKey, "new-key-proof", p.T, p.NewKeyProof), "new-key proof")
			all = append(all, p)
		}
	}
	return all
}

func (r *recorder) verify(key, label string, transcript, signature []byte) bool {
	message := append([]byte("authsrv v1 "+label+"\x00"), transcript...)
	return ed25519.Verify(ed25519.PublicKey(r.keyOf(key).A), message, signature)
}

func proofOf(t *credential.Transcript) proofRec {
	sum, nonce := t.Sum(), t.ClientNonce
	return proofRec{
		Purpose: t.Purpose, ClientNonce: nonce[:], ServerNonce: t.ServerNonce, OpDigest: t.OpDigest,
		SessionID: t.SessionID, AccountID: t.AccountID, T: sum[:],
	}
}
