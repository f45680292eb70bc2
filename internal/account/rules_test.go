package account

import (
	"testing"
	"time"

	"github.com/authsrv/authsrv/credential"
)

// TestRulesChange: new rules hold for what begins after them, and bad ones change nothing.
func TestRulesChange(t *testing.T) {
	r := newRig(t)
	p := r.peer("192.0.2.1")
	begin := func() error {
		_, _, err := r.BeginRegister(t.Context(), &p.ch, p.start("bob"))
		return err
	}
	wantError(t, begin(), nil)
	policy, err := credential.ParsePolicy("length:20")
	if err != nil {
		t.Fatal(err)
	}
	rules := Rules{Registration: RegistrationClosed, Policy: policy, SessionLife: time.Hour, MaxSessionLife: 2 * time.Hour}
	if err := r.SetRules(rules); err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string]Rules{
		"no such policy":   {Policy: credential.Policy{Kind: 9}},
		"negative life":    {SessionLife: -1},
		"longer than most": {SessionLife: time.Hour, MaxSessionLife: time.Minute},
	} {
		if r.SetRules(bad) == nil {
			t.Errorf("%s: taken", what)
		}
	}
	wantError(t, begin(), ErrRegistrationClosed)
	if r.Registration() != RegistrationClosed || r.MaxSessionLife() != 2*time.Hour {
		t.Errorf("the rules are %+v", *r.rules.Load())
	}
	if got := r.lifetime(0); got != time.Hour {
		t.Errorf("a session lives %v", got)
	}
	if got := r.lifetime(24 * time.Hour); got != 2*time.Hour {
		t.Errorf("a session lives %v", got)
	}
	rules.Registration = RegistrationOpen
	if err := r.SetRules(rules); err != nil {
		t.Fatal(err)
	}
	_, c, err := r.BeginRegister(t.Context(), &p.ch, p.start("bob"))
	if err != nil || c.Policy != policy {
		t.Errorf("%v, and the policy is %v", err, c.Policy)
	}
}
