package authsrv_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// asvs is how many requirements each section of OWASP ASVS 5.0.0 has, of those that SECURITY 7.1 is about.
var asvs = []struct {
	section string
	n       int
}{
	{"6.1", 3}, {"6.2", 12}, {"6.3", 8}, {"6.4", 6}, {"6.5", 8}, {"6.6", 4}, {"6.7", 2},
	{"7.1", 3}, {"7.2", 4}, {"7.3", 2}, {"7.4", 5}, {"7.5", 3}, {"9.1", 3}, {"9.2", 4},
	{"11.2", 5}, {"11.3", 5}, {"11.4", 4}, {"11.5", 2},
}

// nist is what SECURITY 7.2 is about.
var nist = strings.Fields(`3.1.1.1
	3.1.1.2-1 3.1.1.2-2 3.1.1.2-3 3.1.1.2-4 3.1.1.2-5 3.1.1.2-6 3.1.1.2-7 3.1.1.2-8 3.1.1.2-9
	3.1.1.2-a 3.1.1.2-b 3.1.1.2-c 3.1.1.2-d 3.1.1.2-e 3.1.1.2-f 3.1.1.2-g 3.1.1.2-h 3.1.1.2-i 3.1.1.2-j 3.1.1.2-k 3.1.1.2-l
	3.2.2-a 3.2.2-b 5.1-1 5.1-2 5.1-3 5.1-4 5.1-5 5.1-6 5.1-a 5.1-b 5.1.1 5.1.2 5.2 5.3`)

// TestRequirements: SECURITY 7 has each requirement once, with a verdict that there is, and the tests that it names are there.
func TestRequirements(t *testing.T) {
	security, err := os.ReadFile("docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, there := strings.Cut(string(security), "\n## 7. ")
	if !there {
		t.Fatal("docs/SECURITY.md has no section 7")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	tests := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, file := range goFiles(t, true) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range function.FindAllSubmatch(source, -1) {
			tests[string(m[1])] = strings.HasSuffix(file, "_test.go")
		}
	}
	var want, got []string
	for _, s := range asvs {
		for i := range s.n {
			want = append(want, fmt.Sprintf("%s.%d", s.section, i+1))
		}
	}
	want = append(want, nist...)
	verdicts := make(map[string]int)
	shown := regexp.MustCompile("`(Test\\w+|\\w+\\.txtar)`")
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 2 || cells[1] == " requirement " || strings.HasPrefix(cells[1], "---") {
			continue
		}
		if len(cells) != 6 {
			t.Errorf("a row of %d cells: %s", len(cells)-2, line)
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		id, asks, verdict, why := cells[1], cells[2], cells[3], cells[4]
		got = append(got, id)
		verdicts[verdict]++
		if !slices.Contains([]string{"met", "not met", "not applicable"}, verdict) || asks == "" || why == "" {
			t.Errorf("%s: verdict %q, why %q", id, verdict, why)
		}
		names := shown.FindAllStringSubmatch(why, -1)
		for _, m := range names {
			if strings.HasSuffix(m[1], ".txtar") {
				if _, err := os.Stat(filepath.Join("cmd/testdata/script", m[1])); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			} else if !tests[m[1]] {
				t.Errorf("%s: there is no %s", id, m[1])
			}
		}
		if verdict == "met" && len(names) == 0 && !strings.Contains(why, "](") && !strings.HasPrefix(why, "no test: ") {
			t.Errorf("%s is met, and nothing shows it", id)
		}
	}
	if !slices.Equal(got, want) {
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("%d rows, want %d: they differ from row %d on", len(got), len(want), i+1)
			}
		}
	}
	t.Logf("%d requirements: %v", len(got), verdicts)
}
