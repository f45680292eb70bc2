// Package account holds every rule of authsrv: how an account comes to be, who may log in to it,
// how long that lasts, and how guesses are slowed down. It knows nothing of connections and
// messages: it is given values, decides in one transaction, and returns values.
//
// It is the only package that touches the store. What it writes there is specified in
// docs/STORAGE.md, sections 3 and on.
package account
