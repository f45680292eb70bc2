package main

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// A scram is the client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding.
type scram struct {
	user, nonce string // PostgreSQL takes the user from elsewhere, and an empty one here
	stretched   *stretched
}

// stretched remembers what a password became, by salt and count: as for our server, no load stretches one twice.
type stretched struct {
	password string
	m        sync.Map
}

type saltAndCount struct {
	salt  string
	count int
}

func (s *stretched) key(salt string, count int) ([]byte, error) {
	if k, ok := s.m.Load(saltAndCount{salt, count}); ok {
		return k.([]byte), nil
	}
	k, err := pbkdf2.Key(sha256.New, s.password, []byte(salt), count, sha256.Size)
	if err == nil {
		s.m.Store(saltAndCount{salt, count}, k)
	}
	return k, err
}

func (c *scram) first() string { return "n,," + c.bare() }
func (c *scram) bare() string  { return "n=" + c.user + ",r=" + c.nonce }

// final answers the server's first message, and returns what the server has to prove then.
func (c *scram) final(serverFirst string) (message string, proof []byte, err error) {
	attributes := strings.Split(serverFirst, ",")
	if len(attributes) < 3 || !strings.HasPrefix(attributes[0], "r="+c.nonce) || !strings.HasPrefix(attributes[1], "s=") || !strings.HasPrefix(attributes[2], "i=") {
		return "", nil, fmt.Errorf("scram: the server's first message is %q", serverFirst)
	}
	salt, err := base64.StdEncoding.DecodeString(attributes[1][2:])
	if err != nil {
		return "", nil, err
	}
	count, err := strconv.Atoi(attributes[2][2:])
	if err != nil {
		return "", nil, err
	}
	salted, err := c.stretched.key(string(salt), count)
	if err != nil {
		return "", nil, err
	}
	without := "c=biws," + attributes[0]
	auth := c.bare() + "," + serverFirst + "," + without
	client := mac(salted, "Client Key")
	stored := sha256.Sum256(client)
	signature := mac(stored[:], auth)
	subtle.XORBytes(client, client, signature)
	return without + ",p=" + base64.StdEncoding.EncodeToString(client), mac(mac(salted, "Server Key"), auth), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	io.WriteString(h, text)
	return h.Sum(nil)
}

// A pgLogin is how a role logs in to PostgreSQL (protocol 3.0).
type pgLogin struct {
	user, database string
	tls            *tls.Config // nil: without
	once           sync.Once
	stretched      *stretched
}

// pgConn is a connection that is logged in.
type pgConn struct{ net.Conn }

// Close says so first, as clients do.
func (c pgConn) Close() error {
	_, err := c.Conn.Write([]byte{'X', 0, 0, 0, 4})
	return errors.Join(err, c.Conn.Close())
}

const (
	pgVersion    = 3 << 16
	pgSSLRequest = 80877103
)

// on logs in on a fresh connection.
func (l *pgLogin) on(c net.Conn) (io.Closer, error) {
	l.once.Do(func() { l.stretched = &stretched{password: pgPassword} })
	c, err := l.secured(c)
	if err != nil {
		return nil, err
	}
	start := binary.BigEndian.AppendUint32(nil, pgVersion)
	start = append(start, "user\x00"+l.user+"\x00database\x00"+l.database+"\x00\x00"...)
	if _, err := c.Write(pgMessage(0, start)); err != nil {
		return nil, err
	}
	random := make([]byte, 18)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	s := &scram{nonce: base64.StdEncoding.EncodeToString(random), stretched: l.stretched}
	var proof []byte
	proved := false
	for {
		kind, b, err := pgRead(c)
		if err != nil {
			return nil, err
		}
		switch kind {
		case 'E':
			return nil, fmt.Errorf("postgres: %s", pgReason(b))
		case 'Z':
			if !proved {
				return nil, errors.New("postgres: it let us in without SCRAM")
			}
			return pgConn{c}, nil
		case 'R':
			if len(b) < 4 {
				return nil, errors.New("postgres: a short message")
			}
			var reply []byte
			switch text := string(b[4:]); binary.BigEndian.Uint32(b) {
			case 0:
			case 10:
				first := s.first()
				reply = append([]byte("SCRAM-SHA-256\x00"), binary.BigEndian.AppendUint32(nil, uint32(len(first)))...)
				reply = append(reply, first...)
			case 11:
				var message string
				if message, proof, err = s.final(text); err != nil {
					return nil, err
				}
				reply = []byte(message)
			case 12:
				if proved = text == "v="+base64.StdEncoding.EncodeToString(proof); !proved {
					return nil, errors.New("postgres: the server did not prove that it knows the password")
				}
			default:
				return nil, fmt.Errorf("postgres: it asks for another authentication than SCRAM: %x", b)
			}
			if reply != nil {
				if _, err := c.Write(pgMessage('p', reply)); err != nil {
					return nil, err
				}
			}
		}
	}
}

// secured asks for TLS, where that is wanted.
func (l *pgLogin) secured(c net.Conn) (net.Conn, error) {
	if l.tls == nil {
		return c, nil
	}
	if _, err := c.Write(pgMessage(0, binary.BigEndian.AppendUint32(nil, pgSSLRequest))); err != nil {
		return nil, err
	}
	yes := make([]byte, 1)
	if _, err := io.ReadFull(c, yes); err != nil {
		return nil, err
	}
	if yes[0] != 'S' {
		return nil, errors.New("postgres: no TLS")
	}
	return tls.Client(c, l.tls), nil
}

// pgMessage frames a message; the first ones of a connection have no kind.
func pgMessage(kind byte, body []byte) []byte {
	var m []byte
	if kind != 0 {
		m = append(m, kind)
	}
	return append(binary.BigEndian.AppendUint32(m, uint32(4+len(body))), body...)
}

func pgRead(c io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > 1<<16 {
		return 0, nil, fmt.Errorf("postgres: a message of %d bytes", n)
	}
	body = make([]byte, n-4)
	_, err = io.ReadFull(c, body)
	return head[0], body, err
}

// pgReason is the text of an error: the field M.
func pgReason(b []byte) string {
	for field := range strings.SplitSeq(string(b), "\x00") {
		if text, ok := strings.CutPrefix(field, "M"); ok {
			return text
		}
	}
	return fmt.Sprintf("%q", b)
}
