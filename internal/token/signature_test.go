package token_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/token"
)

func TestSignatureIsTwoNumbersOf32Bytes(t *testing.T) {
	full := "022100" + "ff" + strings.Repeat("11", 31)
	for name, c := range map[string]struct{ der, want string }{
		"both full":                 {"3046" + full + full, strings.Repeat("ff"+strings.Repeat("11", 31), 2)},
		"small ones are padded":     {"3006" + "020101" + "020102", strings.Repeat("00", 31) + "01" + strings.Repeat("00", 31) + "02"},
		"a number too large":        {"3027" + "0222" + "01" + strings.Repeat("00", 33) + "020102", ""},
		"a negative one":            {"3006" + "0201ff" + "020102", ""},
		"one only":                  {"3003" + "020101", ""},
		"three":                     {"3009" + "020101" + "020102" + "020103", ""},
		"something behind":          {"3006" + "020101" + "020102" + "00", ""},
		"a length that is no DER":   {"308106" + "020101" + "020102", ""},
		"a number that is no DER":   {"3007" + "02020001" + "020102", ""},
		"nothing":                   {"", ""},
		"what a JWS has (no ASN.1)": {strings.Repeat("11", 64), ""},
	} {
		t.Run(name, func(t *testing.T) {
			der, err := hex.DecodeString(c.der)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(c.want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := token.FixedES256(der)
			if !bytes.Equal(got, want) || (err == nil) != (c.want != "") {
				t.Errorf("got %x, %v, want %s", got, err, c.want)
			}
		})
	}
}
