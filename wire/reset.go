package wire

// ResetFinish brings the record that takes the place of an account's, by right of a code (PROTOCOL 7.10).
type ResetFinish struct {
	Record    Record
	NewProof  [64]byte
	CodeProof [64]byte
}

// AppendSigned appends the message up to its first signature: what the op digest is of.
func (m *ResetFinish) AppendSigned(dst []byte) []byte {
	return m.Record.appendTo(append(dst, uint8(TypeResetFinish)))
}

// AppendTo appends the message.
func (m *ResetFinish) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = m.AppendSigned(dst)
	dst = append(dst, m.NewProof[:]...)
	dst = append(dst, m.CodeProof[:]...)
	return pad(dst, start, TypeResetFinish)
}

// ParseResetFinish reads a ResetFinish.
func ParseResetFinish(b []byte) (m ResetFinish, err error) {
	c := parse(b, TypeResetFinish)
	m.Record.read(&c)
	c.copy(m.NewProof[:])
	c.copy(m.CodeProof[:])
	return m, c.end(TypeResetFinish)
}

// ResetDone says that the record was replaced (PROTOCOL 7.10).
type ResetDone struct {
	Confirm [32]byte
}

// AppendTo appends the message.
func (m *ResetDone) AppendTo(dst []byte) []byte {
	start := len(dst)
	return pad(append(append(dst, uint8(TypeResetDone)), m.Confirm[:]...), start, TypeResetDone)
}

// ParseResetDone reads a ResetDone.
func ParseResetDone(b []byte) (m ResetDone, err error) {
	c := parse(b, TypeResetDone)
	c.copy(m.Confirm[:])
	return m, c.end(TypeResetDone)
}
