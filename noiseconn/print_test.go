package noiseconn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestSecretsAreNotPrinted by whatever prints what they are in.
func TestSecretsAreNotPrinted(t *testing.T) {
	key := StaticFromPrivate([32]byte(bytes.Repeat([]byte{0xab}, 32)))
	client, server := pipe(t)
	go client.Write(bytes.Repeat([]byte{0xab}, 100))
	if _, err := server.Read(make([]byte, 10)); err != nil { // the rest of it waits
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, v := range []any{key, &key, []StaticKey{key}, struct{ Key StaticKey }{key}, server, struct{ Conn *Conn }{server}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	for _, secret := range []string{"\xab\xab", "abab", "ABAB", "171 171", "171,171", "0xab, 0xab", `\xab\xab`} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q was printed", secret)
		}
	}
	if !strings.Contains(out.String(), "[secret]") || !strings.Contains(out.String(), "connection to") {
		t.Error("nothing was printed")
	}
}
