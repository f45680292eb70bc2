package wire

import (
	"bytes"
	"errors"
	"testing"
)

// faults reads a message that is good, and others that differ from it in one thing, none of which is.
func faults[M any, P interface {
	*M
	AppendTo([]byte) []byte
}](t *testing.T, parse func([]byte) (M, error), good M, bad map[string]func(*M)) {
	t.Helper()
	if _, err := parse(P(&good).AppendTo(nil)); err != nil {
		t.Errorf("%+v: %v", good, err)
	}
	for name, change := range bad {
		m := good
		change(&m)
		if _, err := parse(P(&m).AppendTo(nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%T with %s: %v", m, name, err)
		}
	}
}

var (
	name65   = bytes.Repeat([]byte("n"), 65)
	token801 = bytes.Repeat([]byte("t"), 801)
)

func TestAuthStartFaults(t *testing.T) {
	login := AuthStart{Purpose: PurposeLogin, Method: MethodPassword, Offered: []byte{1, 3}, Lifetime: 60, Name: []byte("alice")}
	faults(t, ParseAuthStart, login, map[string]func(*AuthStart){
		"purpose 0":                 func(m *AuthStart) { m.Purpose = 0 },
		"purpose 4":                 func(m *AuthStart) { m.Purpose = 4 },
		"purpose of a session":      func(m *AuthStart) { m.Purpose = PurposeSession },
		"a registration's lifetime": func(m *AuthStart) { m.Purpose = PurposeRegister },
		"method 0":                  func(m *AuthStart) { m.Method, m.Offered = 0, []byte{0, 1} },
		"method 2":                  func(m *AuthStart) { m.Method, m.Offered = 2, []byte{1, 2} },
		"method 3":                  func(m *AuthStart) { m.Method = MethodChecked },
		"method not offered":        func(m *AuthStart) { m.Offered = []byte{3} },
		"nothing offered":           func(m *AuthStart) { m.Offered = nil },
		"offered not ascending":     func(m *AuthStart) { m.Offered = []byte{3, 1} },
		"offered twice":             func(m *AuthStart) { m.Offered = []byte{1, 1} },
		"9 offered":                 func(m *AuthStart) { m.Offered = []byte{1, 2, 3, 4, 5, 6, 7, 8, 9} },
		"no name":                   func(m *AuthStart) { m.Name = nil },
		"a name of 65 bytes":        func(m *AuthStart) { m.Name = name65 },
		"a token":                   func(m *AuthStart) { m.Token = []byte("t") },
	})
	register := AuthStart{Purpose: PurposeRegister, Method: MethodChecked, Offered: []byte{1, 3}, Name: []byte("alice")}
	faults(t, ParseAuthStart, register, map[string]func(*AuthStart){
		"a lifetime":         func(m *AuthStart) { m.Lifetime = 1 },
		"method 0":           func(m *AuthStart) { m.Method, m.Offered = 0, []byte{0, 1} },
		"method 2":           func(m *AuthStart) { m.Method, m.Offered = 2, []byte{1, 2} },
		"method 4":           func(m *AuthStart) { m.Method, m.Offered = 4, []byte{1, 4} },
		"method not offered": func(m *AuthStart) { m.Offered = []byte{1} },
		"no name":            func(m *AuthStart) { m.Name = nil },
		"a token":            func(m *AuthStart) { m.Token = []byte("t") },
		"an invite":          func(m *AuthStart) { m.Token = make([]byte, 16) },
	})
	reset := AuthStart{Purpose: PurposeReset, Method: MethodCode, Offered: []byte{1, 4}, Name: []byte("alice"), Token: make([]byte, 16)}
	faults(t, ParseAuthStart, reset, map[string]func(*AuthStart){
		"a lifetime":             func(m *AuthStart) { m.Lifetime = 1 },
		"method 1":               func(m *AuthStart) { m.Method = MethodPassword },
		"method not offered":     func(m *AuthStart) { m.Offered = []byte{1} },
		"no name":                func(m *AuthStart) { m.Name = nil },
		"no code":                func(m *AuthStart) { m.Token = nil },
		"a code id of 15 bytes":  func(m *AuthStart) { m.Token = make([]byte, 15) },
		"a code id of 17 bytes":  func(m *AuthStart) { m.Token = make([]byte, 17) },
		"purpose of a login":     func(m *AuthStart) { m.Purpose = PurposeLogin },
		"purpose of a register":  func(m *AuthStart) { m.Purpose = PurposeRegister },
		"purpose of a session":   func(m *AuthStart) { m.Purpose = PurposeSession },
		"purpose of a operation": func(m *AuthStart) { m.Purpose = 4 },
	})
	invited := AuthStart{Purpose: PurposeRegister, Method: MethodPassword, Offered: []byte{1}, Name: []byte("alice"), Token: make([]byte, 16)}
	faults(t, ParseAuthStart, invited, map[string]func(*AuthStart){
		"a code id of 15 bytes": func(m *AuthStart) { m.Token = make([]byte, 15) },
		"a code id of 17 bytes": func(m *AuthStart) { m.Token = make([]byte, 17) },
		"a login's":             func(m *AuthStart) { m.Purpose = PurposeLogin },
	})
	session := AuthStart{Purpose: PurposeSession, Token: []byte("token")}
	faults(t, ParseAuthStart, session, map[string]func(*AuthStart){
		"a lifetime":           func(m *AuthStart) { m.Lifetime = 1 },
		"method 1":             func(m *AuthStart) { m.Method = MethodPassword },
		"methods offered":      func(m *AuthStart) { m.Offered = []byte{0} },
		"a name":               func(m *AuthStart) { m.Name = []byte("alice") },
		"no token":             func(m *AuthStart) { m.Token = nil },
		"a token of 801 bytes": func(m *AuthStart) { m.Token = token801 },
	})
}

func TestCodeFaults(t *testing.T) {
	faults(t, ParseRegisterFinish, RegisterFinish{CodeProof: make([]byte, 64)}, map[string]func(*RegisterFinish){
		"a code proof of 1 byte":   func(m *RegisterFinish) { m.CodeProof = []byte{1} },
		"a code proof of 63 bytes": func(m *RegisterFinish) { m.CodeProof = make([]byte, 63) },
		"a code proof of 65 bytes": func(m *RegisterFinish) { m.CodeProof = make([]byte, 65) },
	})
	faults(t, ParseRegistered, Registered{Confirm: make([]byte, 32)}, map[string]func(*Registered){
		"a confirm of 1 byte":   func(m *Registered) { m.Confirm = []byte{1} },
		"a confirm of 31 bytes": func(m *Registered) { m.Confirm = make([]byte, 31) },
		"a confirm of 33 bytes": func(m *Registered) { m.Confirm = make([]byte, 33) },
	})
}

func TestAnswerFaults(t *testing.T) {
	login := Welcome{Name: []byte("alice"), Token: []byte("token"), ResumeKey: make([]byte, 32)}
	faults(t, ParseWelcome, login, map[string]func(*Welcome){
		"no name":                  func(m *Welcome) { m.Name = nil },
		"a name of 65 bytes":       func(m *Welcome) { m.Name = name65 },
		"no token":                 func(m *Welcome) { m.Token = nil },
		"a token of 801 bytes":     func(m *Welcome) { m.Token = token801 },
		"no resume key":            func(m *Welcome) { m.ResumeKey = nil },
		"a resume key of 31 bytes": func(m *Welcome) { m.ResumeKey = make([]byte, 31) },
		"a resume key of 33 bytes": func(m *Welcome) { m.ResumeKey = make([]byte, 33) },
	})
	faults(t, ParseDenied, Denied{Code: CodeDenied, RetryAfter: 1}, map[string]func(*Denied){
		"code 0":                           func(m *Denied) { m.Code = 0 },
		"a rule with a code that has none": func(m *Denied) { m.Rule = 1 },
	})
	faults(t, ParseRefused, Refused{ID: 1, Denied: Denied{Code: CodePasswordPolicy, Rule: 16}}, map[string]func(*Refused){
		"id 0":                             func(m *Refused) { m.ID = 0 },
		"code 0":                           func(m *Refused) { m.Code = 0 },
		"a rule with a code that has none": func(m *Refused) { m.Code = CodeDenied },
	})
	faults(t, ParseGoodbye, Goodbye{CodeIdle}, map[string]func(*Goodbye){
		"code 0": func(m *Goodbye) { m.Code = 0 },
	})
	faults(t, ParsePasswordChanged, PasswordChanged{ID: 1, Token: []byte("token")}, map[string]func(*PasswordChanged){
		"id 0":                 func(m *PasswordChanged) { m.ID = 0 },
		"no token":             func(m *PasswordChanged) { m.Token = nil },
		"a token of 801 bytes": func(m *PasswordChanged) { m.Token = token801 },
	})
	faults(t, ParseAccount, Account{ID: 1, Name: []byte("alice")}, map[string]func(*Account){
		"id 0":               func(m *Account) { m.ID = 0 },
		"no name":            func(m *Account) { m.Name = nil },
		"a name of 65 bytes": func(m *Account) { m.Name = name65 },
	})
}

func TestPolicyFaults(t *testing.T) {
	good := Policy{Kind: 1, MinLength: 8, MaxLength: 1024, MinScore: 4}
	bad := map[string]func(*Policy){
		"kind 0":                 func(p *Policy) { p.Kind, p.MinScore = 0, 0 },
		"kind 4":                 func(p *Policy) { p.Kind, p.MinScore = 4, 0 },
		"min length 7":           func(p *Policy) { p.MinLength = 7 },
		"max length 1025":        func(p *Policy) { p.MaxLength = 1025 },
		"max length below min":   func(p *Policy) { p.MinLength, p.MaxLength = 10, 9 },
		"min score 5":            func(p *Policy) { p.MinScore = 5 },
		"a min score of classes": func(p *Policy) { p.Kind, p.MinScore = 2, 1 },
		"a min score of length":  func(p *Policy) { p.Kind, p.MinScore = 3, 1 },
	}
	params, challenge := map[string]func(*RegisterParams){}, map[string]func(*OpChallenge){
		"id 0": func(m *OpChallenge) { m.ID = 0 },
	}
	for name, change := range bad {
		params[name] = func(m *RegisterParams) { change(&m.Policy) }
		challenge[name] = func(m *OpChallenge) { change(&m.Policy) }
	}
	faults(t, ParseRegisterParams, RegisterParams{Policy: good}, params)
	faults(t, ParseOpChallenge, OpChallenge{ID: 1, Policy: good}, challenge)
}

func TestRequestFaults(t *testing.T) {
	faults(t, ParseRegisterPassword, RegisterPassword{[]byte("password")}, map[string]func(*RegisterPassword){
		"no password":               func(m *RegisterPassword) { m.Password = nil },
		"a password of 1,025 bytes": func(m *RegisterPassword) { m.Password = make([]byte, 1025) },
	})
	faults(t, ParseOpStart, OpStart{ID: 1, Operation: TypeRevokeAll}, map[string]func(*OpStart){
		"id 0":                     func(m *OpStart) { m.ID = 0 },
		"operation 0":              func(m *OpStart) { m.Operation = 0 },
		"operation WhoAmI":         func(m *OpStart) { m.Operation = TypeWhoAmI },
		"operation OpStart":        func(m *OpStart) { m.Operation = TypeOpStart },
		"an answer for operation":  func(m *OpStart) { m.Operation = TypePasswordChanged },
		"an operation without row": func(m *OpStart) { m.Operation = 0xff },
	})
	faults(t, ParseChangePassword, ChangePassword{ID: 1}, map[string]func(*ChangePassword){
		"id 0": func(m *ChangePassword) { m.ID = 0 },
	})
	faults(t, ParseListSessions, ListSessions{ID: 1}, map[string]func(*ListSessions){
		"id 0": func(m *ListSessions) { m.ID = 0 },
	})
	for _, typ := range []Type{TypeDeleteAccount, TypeRevokeAll} {
		parse := func(b []byte) (ProvedOp, error) { return ParseProvedOp(b, typ) }
		faults(t, parse, ProvedOp{Type: typ, ID: 1}, map[string]func(*ProvedOp){
			"id 0": func(m *ProvedOp) { m.ID = 0 },
		})
	}
	for _, typ := range []Type{TypeBye, TypeDone, TypeWhoAmI, TypeList, TypeLogout} {
		parse := func(b []byte) (Plain, error) { return ParsePlain(b, typ) }
		good, bad := uint32(1), uint32(0)
		if typ == TypeBye {
			good, bad = bad, good
		}
		faults(t, parse, Plain{typ, good}, map[string]func(*Plain){
			"an id that is not for it": func(m *Plain) { m.ID = bad },
		})
	}
	goodbye := Goodbye{CodeIdle}.AppendTo(nil)
	goodbye[4] = 1
	if _, err := ParseGoodbye(goodbye); err != ErrMalformed {
		t.Errorf("Goodbye with an id: %v", err)
	}
}

func TestListFaults(t *testing.T) {
	var listing Listing
	listing.ID = 1
	listing.Add("etc")
	listing.Add("lib")
	faults(t, ParseListing, listing, map[string]func(*Listing){
		"id 0":           func(m *Listing) { m.ID = 0 },
		"a count over":   func(m *Listing) { m.Count = 3 },
		"a count under":  func(m *Listing) { m.Count = 1 },
		"highest count":  func(m *Listing) { m.Count = 0xffff },
		"an empty name":  func(m *Listing) { m.Add("") },
		"a name cut off": func(m *Listing) { m.names = m.names[:len(m.names)-1] },
	})
	id := func(last byte) [16]byte { return [16]byte{15: last} }
	var sessions SessionList
	sessions.ID = 1
	sessions.Add(&Session{ID: id(1), Address: []byte("192.0.2.1:1")})
	sessions.Add(&Session{ID: id(2)})
	add := func(s Session) func(*SessionList) { return func(m *SessionList) { m.Add(&s) } }
	flags := func(at int) func(*SessionList) {
		return func(m *SessionList) {
			m.sessions = bytes.Clone(m.sessions)
			m.sessions[at] = 2
		}
	}
	faults(t, ParseSessionList, sessions, map[string]func(*SessionList){
		"id 0":                   func(m *SessionList) { m.ID = 0 },
		"a count over":           func(m *SessionList) { m.Count++ },
		"a count under":          func(m *SessionList) { m.Count-- },
		"more than a page has":   func(m *SessionList) { crowd(m, MaxSessions+1) },
		"an id twice":            add(Session{ID: id(2)}),
		"ids not ascending":      add(Session{ID: id(0)}),
		"an address of 65 bytes": add(Session{ID: id(3), Address: name65}),
		"current 2":              flags(16 + 3*8),
	})
	b := sessions.AppendTo(nil)
	b[5] = 2
	full := SessionList{ID: 1}
	crowd(&full, MaxSessions)
	if m, err := ParseSessionList(full.AppendTo(nil)); err != nil || m.Count != MaxSessions {
		t.Errorf("a full page: %d sessions, %v", m.Count, err)
	}
	if _, err := ParseSessionList(b); err != ErrMalformed {
		t.Errorf("SessionList with more 2: %v", err)
	}
}

func TestPrefaceFaults(t *testing.T) {
	for i := range 4 {
		b := Preface{1, 1, 0}.Bytes()
		b[i] ^= 1
		if _, err := ParsePreface(b); err != ErrMalformed {
			t.Errorf("preface with another byte %d: %v", i, err)
		}
		refusal := Refusal{1, 1, CodeVersion}.AppendTo(nil)
		refusal[i] ^= 1
		if _, err := ParseRefusal(refusal); err != ErrMalformed {
			t.Errorf("refusal with another byte %d: %v", i, err)
		}
	}
	for code := range Code(len(codes) + 1) {
		_, err := ParseRefusal(Refusal{1, 1, code}.AppendTo(nil))
		if good := code == CodeVersion || code == CodeOverloaded; (err == nil) != good {
			t.Errorf("refusal with code %d: %v", code, err)
		}
	}
	for n := range 20 {
		b := append(Refusal{1, 1, CodeVersion}.AppendTo(nil), make([]byte, 12)...)[:n]
		if _, err := ParseRefusal(b); (err == nil) != (n == RefusalSize) {
			t.Errorf("refusal of %d bytes: %v", n, err)
		}
	}
}

func TestRequestID(t *testing.T) {
	b := []byte{0x20, 1, 2, 3, 4, 5}
	for n := range b {
		if id, err := RequestID(b[:n]); (err == nil) != (n >= 5) || err == nil && id != 0x01020304 {
			t.Errorf("of %d bytes: %#x, %v", n, id, err)
		}
	}
	if typ := TypeOf(nil); typ != 0 {
		t.Errorf("nothing is a %v", typ)
	}
}

// TestTooLong has fields that no length can say, which would otherwise be written as another value.
func TestTooLong(t *testing.T) {
	for name, write := range map[string]func(){
		"name":     func() { (&Account{Name: make([]byte, 256)}).AppendTo(nil) },
		"token":    func() { (&PasswordChanged{Token: make([]byte, 65_536)}).AppendTo(nil) },
		"listing":  func() { new(Listing).Add(string(make([]byte, 256))) },
		"session":  func() { new(SessionList).Add(&Session{Address: make([]byte, 256)}) },
		"password": func() { (&RegisterPassword{make([]byte, 2046)}).AppendTo(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a %s that is too long is written", name)
				}
			}()
			write()
		}()
	}
}

// crowd makes a page of n sessions.
func crowd(m *SessionList, n int) {
	*m = SessionList{ID: m.ID}
	for i := range n {
		m.Add(&Session{ID: [16]byte{15: byte(i + 1)}})
	}
}
