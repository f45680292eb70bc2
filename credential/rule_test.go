package credential

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/spec"
)

// TestRulesAreTheSpecification holds the table of rules against the one of PROTOCOL 12.
func TestRulesAreTheSpecification(t *testing.T) {
	specified := map[Rule]bool{}
	for _, cells := range spec.Table(t, "PROTOCOL.md", "rule", "name", "message") {
		number, err := strconv.ParseUint(cells[0], 10, 8)
		if err != nil {
			t.Fatal(err)
		}
		rule := Rule(number)
		specified[rule] = true
		if name := cells[1]; !rule.Known() || rule.String() != name {
			t.Errorf("rule %d is %q here, %q in the specification", number, rule, name)
		}
		if message := cells[2]; rule.Error() != message {
			t.Errorf("rule %d says %q here, %q in the specification", number, rule.Error(), message)
		}
	}
	for rule := range rules {
		if !specified[rule] {
			t.Errorf("rule %d is not in the specification", rule)
		}
	}
}

func TestUnknownRule(t *testing.T) {
	for _, rule := range []Rule{0, 4, 15, 23, 255} {
		if rule.Known() {
			t.Errorf("rule %d is known", rule)
		}
		if number := strconv.Itoa(int(rule)); !strings.Contains(rule.Error(), number) || !strings.Contains(rule.String(), number) {
			t.Errorf("rule %d does not say its number: %q, %q", rule, rule.Error(), rule.String())
		}
	}
}

// wantRule fails unless err is the rule; 0 stands for none.
func wantRule(t *testing.T, err error, want Rule) {
	t.Helper()
	if want == 0 {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var rule Rule
	if !errors.As(err, &rule) || rule != want {
		t.Errorf("got %v, want %v", err, want)
	}
}
