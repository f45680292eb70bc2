package credential_test

import (
	"fmt"

	"github.com/authsrv/authsrv/credential"
)

// A registration and a login, without the connection between the two sides.
func Example() {
	name, err := credential.PrepareName("Alice")
	if err != nil {
		fmt.Println(err) // a credential.Rule, with a message for people
		return
	}
	password, err := credential.PreparePassword("correct horse battery staple")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer clear(password)
	if err := credential.DefaultPolicy().Check(name, password); err != nil {
		fmt.Println(err)
		return
	}

	// The server gives the salt and the parameters; the client stretches.
	realmID := [16]byte{1}
	salt := credential.Salt([32]byte{2}, realmID, name)
	kdf := credential.KDF{Algorithm: credential.Argon2id, Time: 2, MemoryKiB: 19_456, Lanes: 1}
	key, err := credential.Derive(password, realmID, name, salt, kdf)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer key.Destroy()

	// What the server stores of it.
	public, serverKey := key.Public(), key.ServerKey()
	if err := credential.CheckPublicKey(public[:]); err != nil {
		fmt.Println(err)
		return
	}

	// A login: both sides have the transcript. The client proves, the server confirms.
	transcript := credential.Transcript{
		RealmID: realmID, Purpose: credential.PurposeLogin, Method: credential.MethodPassword,
		OfferedMethods: []byte{credential.MethodPassword}, LoginName: name, Salt: salt[:], KDF: kdf,
	}
	sum := transcript.Sum()
	proof := key.Prove(sum)
	fmt.Println("the server accepts:", credential.VerifyProof(public, sum, proof))
	confirm := credential.Confirm(serverKey, sum, proof)
	fmt.Println("the client accepts:", key.VerifyConfirm(sum, proof, confirm))
	// Output:
	// the server accepts: true
	// the client accepts: true
}

func ExamplePolicy_Check() {
	policy, err := credential.ParsePolicy("strength")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(policy.Check("alice", []byte("letmein1")))
	fmt.Println(policy.Check("alice", []byte("eigenvalue-trombone-7")))
	// Output:
	// the password is in a list of common passwords
	// <nil>
}
