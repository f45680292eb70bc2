package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/authsrv/authsrv/wire"
)

// longest has the limit of each field of variable length (PROTOCOL 11). One more is tried as well.
var longest = map[string]int{
	"Offered": wire.MaxMethods, "Name": wire.MaxName, "Token": wire.MaxToken, "ResumeKey": 32, "CodeProof": 64, "Confirm": 32,
	"Password": wire.MaxPassword, "Address": wire.MaxAddress,
}

// maxEntries bounds what a list is filled with.
const maxEntries = 40

// A source gives the bytes that fields are made of, and zeros at its end.
type source struct{ b []byte }

func (s *source) take(n int) []byte {
	out := make([]byte, n)
	s.b = s.b[copy(out, s.b):]
	return out
}

func (s *source) number(size int) uint64 {
	return binary.BigEndian.Uint64(append(make([]byte, 8-size), s.take(size)...))
}

// fill makes a message, or a field of one, of what comes from s.
func fill(v reflect.Value, name string, s *source) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				fill(v.Field(i), field.Name, s)
			}
		}
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(s.take(v.Len())))
	case reflect.Slice:
		v.SetBytes(s.take(int(s.number(2)) % (longest[name] + 2)))
	case reflect.Bool:
		v.SetBool(s.number(1)%2 == 1)
	default:
		v.SetUint(s.number(int(v.Type().Size())))
	}
}

// drain is the inverse of fill: it appends what v is filled from.
func drain(v reflect.Value, dst []byte) []byte {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				dst = drain(v.Field(i), dst)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			dst = append(dst, uint8(v.Index(i).Uint()))
		}
	case reflect.Slice:
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(v.Len())), v.Bytes()...)
	case reflect.Bool:
		if v.Bool() {
			return append(dst, 1)
		}
		return append(dst, 0)
	default:
		b := binary.BigEndian.AppendUint64(nil, v.Uint())
		dst = append(dst, b[8-int(v.Type().Size()):]...)
	}
	return dst
}

// build makes the message of a type of the fields, and says whether it is one that can be sent.
func build(m message, fields []byte) (value appender, good bool) {
	s := &source{fields}
	value = m.blank()
	switch v := value.(type) {
	case *wire.Listing:
		v.ID, good = uint32(s.number(4)), true
		for len(s.b) > 0 && v.Count < maxEntries {
			name := s.take(int(s.number(1)))
			good = good && len(name) > 0
			v.Add(string(name))
		}
		return v, good && v.ID != 0
	case *wire.SessionList:
		v.ID, v.More, good = uint32(s.number(4)), s.number(1)%2 == 1, true
		var last [16]byte
		for len(s.b) > 0 && v.Count < maxEntries {
			var session wire.Session
			fill(reflect.ValueOf(&session).Elem(), "", s)
			ascends := v.Count == 0 || bytes.Compare(last[:], session.ID[:]) < 0
			good = good && ascends && len(session.Address) <= wire.MaxAddress
			last = session.ID
			v.Add(&session)
		}
		return v, good && v.ID != 0
	}
	fill(reflect.ValueOf(value).Elem(), "", s)
	switch v := value.(type) {
	case *wire.Plain:
		v.Type = m.typ
	case *wire.ProvedOp:
		v.Type = m.typ
	}
	return value, valid(value)
}

// valid says what PROTOCOL 7 and 8 allow.
func valid(value appender) bool {
	switch m := value.(type) {
	case *wire.AuthStart:
		return validStart(m)
	case *wire.Welcome:
		login := len(m.ResumeKey) == 32 && 1 <= len(m.Token) && len(m.Token) <= wire.MaxToken
		return (login || len(m.ResumeKey) == 0 && len(m.Token) == 0) && validName(m.Name)
	case *wire.Denied:
		return validDenied(m)
	case *wire.RegisterParams:
		return validPolicy(m.Policy)
	case *wire.RegisterFinish:
		return len(m.CodeProof) == 0 || len(m.CodeProof) == 64
	case *wire.Registered:
		return len(m.Confirm) == 0 || len(m.Confirm) == 32
	case *wire.RegisterPassword:
		return 1 <= len(m.Password) && len(m.Password) <= wire.MaxPassword
	case *wire.Goodbye:
		return m.Code != 0
	case *wire.Plain:
		return (m.ID == 0) == (m.Type == wire.TypeBye)
	case *wire.Refused:
		return m.ID != 0 && validDenied(&m.Denied)
	case *wire.Account:
		return m.ID != 0 && validName(m.Name)
	case *wire.ListSessions:
		return m.ID != 0
	case *wire.OpStart:
		return m.ID != 0 && slices.Contains([]wire.Type{0x32, 0x34, 0x35}, m.Operation)
	case *wire.OpChallenge:
		return m.ID != 0 && validPolicy(m.Policy)
	case *wire.ChangePassword:
		return m.ID != 0
	case *wire.PasswordChanged:
		return m.ID != 0 && 1 <= len(m.Token) && len(m.Token) <= wire.MaxToken
	case *wire.ProvedOp:
		return m.ID != 0
	}
	return true
}

func validName(name []byte) bool { return 1 <= len(name) && len(name) <= wire.MaxName }

func validDenied(m *wire.Denied) bool {
	return m.Code != 0 && (m.Rule == 0 || m.Code == wire.CodeNameInvalid || m.Code == wire.CodePasswordPolicy)
}

func validPolicy(p wire.Policy) bool {
	scored := p.Kind == 1 && p.MinScore <= 4 || (p.Kind == 2 || p.Kind == 3) && p.MinScore == 0
	return scored && 8 <= p.MinLength && p.MinLength <= p.MaxLength && p.MaxLength <= wire.MaxPassword
}

func validStart(m *wire.AuthStart) bool {
	if m.Purpose == wire.PurposeSession {
		return m.Method == 0 && len(m.Offered) == 0 && m.Lifetime == 0 && len(m.Name) == 0 && 1 <= len(m.Token) && len(m.Token) <= wire.MaxToken
	}
	ascending := slices.IsSorted(m.Offered) && len(slices.Compact(slices.Clone(m.Offered))) == len(m.Offered)
	if !ascending || len(m.Offered) > wire.MaxMethods || !slices.Contains(m.Offered, uint8(m.Method)) || !validName(m.Name) {
		return false
	}
	login := m.Purpose == wire.PurposeLogin && m.Method == 1 && len(m.Token) == 0
	register := m.Purpose == wire.PurposeRegister && (m.Method == 1 || m.Method == 3) && len(m.Token) == 0 && m.Lifetime == 0
	invited := m.Purpose == wire.PurposeRegister && m.Method == 1 && len(m.Token) == 16 && m.Lifetime == 0
	reset := m.Purpose == wire.PurposeReset && m.Method == 4 && len(m.Token) == 16 && m.Lifetime == 0
	return login || register || invited || reset
}

func structSeeds(t testing.TB) (all []seed) {
	for _, e := range examples() {
		typ := wire.TypeOf(e.AppendTo(nil))
		i := slices.IndexFunc(messages, func(m message) bool { return m.typ == typ })
		var fields []byte
		switch e := e.(type) {
		case *wire.Listing:
			fields = e.AppendTo(nil)[1:5]
			for name := range e.All() {
				fields = append(append(fields, uint8(len(name))), name...)
			}
		case *wire.SessionList:
			fields = e.AppendTo(nil)[1:6]
			for s := range e.All() {
				fields = drain(reflect.ValueOf(s), fields)
			}
		default:
			fields = drain(reflect.ValueOf(e).Elem(), nil)
		}
		all = append(all, seed{uint8(i), fields}, seed{uint8(i), bytes.Repeat([]byte{0xff}, len(fields)+1)}, seed{uint8(i), fields[:len(fields)/2]})
	}
	return all
}

// TestStructSeeds holds that the first seed of each three is the example that it was made of.
func TestStructSeeds(t *testing.T) {
	all := structSeeds(t)
	for i, e := range examples() {
		value, good := build(messages[all[3*i][0].(uint8)], all[3*i][1].([]byte))
		if got, want := value.AppendTo(nil), e.AppendTo(nil); !good || !bytes.Equal(got, want) {
			t.Errorf("%+v: good is %v, and\n%x is not\n%x", e, good, got, want)
		}
	}
}

// written makes a message of a type of any fields, and reads it: it comes back as it was if the specification
// allows it, and is malformed otherwise.
func written(t *testing.T, typ uint8, fields []byte) {
	m := messages[int(typ)%len(messages)]
	value, good := build(m, fields)
	b := value.AppendTo(nil)
	got, err := m.parse(b)
	switch {
	case good && err != nil:
		t.Fatalf("%v: %+v: %v", m.typ, value, err)
	case !good && !errors.Is(err, wire.ErrMalformed):
		t.Fatalf("%v is read though it is not allowed: %+v: %v", m.typ, value, err)
	case good:
		accepted(t, m, b)
		switch got.(type) {
		case *wire.Listing, *wire.SessionList: // accepted went through the entries
		default:
			if !reflect.DeepEqual(got, value) {
				t.Fatalf("%v: %+v is read as %+v", m.typ, value, got)
			}
		}
	}
}
