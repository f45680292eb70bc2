// Package token issues and checks session tokens: compact JWS (RFC 7515) signed with Ed25519 (RFC 8037), bound to
// the X25519 key of the device that they were given to (RFC 7800, RFC 9449), as PROTOCOL 13 has them.
//
// A [Keyset] signs with one key and accepts several, so that keys can be rolled: [New], [Keyset.Sign],
// [Keyset.Verify]. [Thumbprint] is how a token names its device's key; who checks a token compares it with the key
// that the peer has shown, and looks whether the session is still there. [Keyset.JWKS] has the public keys. Nothing gives them
// out: a token is of use to its holder and the server alone.
//
// One algorithm, one type and three header members are known. Everything else is [ErrMalformed], without a part of what
// was refused in the message. The same claims and key give the same bytes.
package token
