// Package credential turns a name and a password into the key that logs in, and judges both.
//
// It holds the rules for names and passwords ([PrepareName], [PreparePassword], [Policy]), the
// derivation of an account's key ([Salt], [Derive], [Key]), the transcript that both sides sign
// and confirm ([Transcript]), and the checks of the server ([CheckPublicKey], [VerifyProof],
// [VerifyNewKey], [Confirm], [ResumeConfirm]): PROTOCOL 5 and 6, with the rules of PROTOCOL 12.
//
// A [Code] is a secret that an operator gives to a person for one use, and becomes a key as a password does (PROTOCOL 5.1).
//
// A strength is zxcvbn's score, and common passwords are those of the lists that zxcvbn 4.4.2 was made from, above
// all 30,000 of the xato.net corpus, as the module github.com/trustelem/zxcvbn has them.
//
// Prepare a name and a password once, where a person typed them; everything else in this package
// takes the prepared form. Only the client derives (PROTOCOL 7.8 is the exception): what the server
// keeps is the KDF's parameters, [Key.Public] and [Key.ServerKey], and neither lets anyone log in.
//
// The refusal of a name or a password is a [Rule], which is an error and travels as one byte.
// Nothing here logs, and no error carries a name, a password, or a part of one.
package credential
