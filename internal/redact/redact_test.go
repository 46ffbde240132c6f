package redact_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/redact"
)

// Values as they leak; none was ever valid. Secrets are in two halves, or scanners of
// repositories would take them for real.
var (
	githubToken = "ghp_" + "x7Rk2PqLm9Zt4WvB8NcY3HdS6JfA1GeT5uQo"
	genericKey  = "h7Gq9Zp2" + "Lm4Xv8Tc"
	awsKey      = "AKIA" + "Q7RK2PLM4ZT6WVBN"
	privateKey  = "-----BEGIN EC PRIVATE KEY-----\n" + strings.Repeat("MHcCAQEEIBxkq7vJ4mNz8TtR2LwYp0aQe5HsVd9KfGjUc3XbZoWnoAoGCCqGSM49", 2) + "\n-----END EC PRIVATE KEY-----"
)

const (
	visa    = "4111 1111 1111 1111"
	account = "GB82 WEST 1234 5698 7654 32"
	address = "ada.mirren@harbour.example"
	number  = "+44 20 7946 0958"
)

func newRedactor(t testing.TB, cfg redact.Config) *redact.Redactor {
	t.Helper()
	r, err := redact.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// masked is the value after the redaction.
func masked(t testing.TB, cfg redact.Config, v string) string {
	t.Helper()
	out, _, err := newRedactor(t, cfg).JSON(jsontext.Value(v))
	if err != nil {
		t.Fatalf("JSON(%.200s): %v", v, err)
	}
	if out == nil {
		return v
	}
	return string(out)
}

func TestValuesAreMasked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, want string }{
		{"GitHub token", "use " + githubToken + ".", "use [secret:github-pat]."},
		{"AWS key id", "id " + awsKey, "id [secret:aws-access-token]"},
		{"key by what is said of it", `password = "` + genericKey + `"`, `password = "[secret:generic-api-key]"`},
		{"private key", "here:\n" + privateKey + "\nbye", "here:\n[secret:private-key]\nbye"},
		{"private key that was cut off", "here:\n" + privateKey[:120], "here:\n[secret:private-key]"},
		{"card", "card " + visa + ", valid", "card [card], valid"},
		{"card in one piece", "4111111111111111", "[card]"},
		{"card with dashes", "5500-0000-0000-0004", "[card]"},
		{"card over two lines", "4111 1111\n1111 1111", "[card]"},
		{"American Express", "3782 822463 10005", "[card]"},
		{"Diners Club", "3056 930902 5904", "[card]"},
		{"card of 19 digits", "6205 5000 0000 0000 004", "[card]"},
		{"card after another number", "17 4111 1111 1111 1111", "17 [card]"},
		{"card before its date", "4111 1111 1111 1111 04/29", "[card] 04/29"},
		{"IBAN in groups", "to IBAN " + account + " before", "to IBAN [iban] before"},
		{"IBAN in one piece", "DE89370400440532013000", "[iban]"},
		{"IBAN in lower case", "de89 3704 0044 0532 0130 00", "[iban]"},
		{"IBAN glued to its name", "IBANDE89370400440532013000", "IBAN[iban]"},
		{"address", "write to " + address + ".", "write to [email]."},
		{"address with a name", "Ada Mirren <" + address + ">", "Ada Mirren <[email]>"},
		{"address with a tag, in a subdomain", "a+b@x.y.example", "[email]"},
		{"address in another script", "почта@пример.рф", "[email]"},
		{"address with a quoted local part", `"ada mirren"@harbour.example`, "[email]"},
		{"phone, international", "call " + number + " now", "call [phone] now"},
		{"phone, in one piece", "+14155550123", "[phone]"},
		{"phone with a trunk prefix in brackets", "+49 (0)30 1234567", "[phone]"},
		{"phone by 00", "0044 20 7946 0958", "[phone]"},
		{"phone of North America", "(212) 555-0123 or 212-555-0124", "[phone] or [phone]"},
		{"phone of Germany", "030 1234567", "[phone]"},
		{"phone of Britain", "020 7946 0958", "[phone]"},
		{"phone of France", "01 42 68 53 00", "[phone]"},
		{"two in one text", address + " " + visa, "[email] [card]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := newRedactor(t, everything).Text(test.in); got != test.want {
				t.Errorf("Text(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

func TestOrdinaryTextPasses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in string }{
		{"words that rules look for", "The key to the token machine: ask the secretary, api docs are public"},
		{"page token", `{\"nextPageToken\": \"CAUQAA9x7Rk2PqLm9Zt4\"}`},
		{"name of an object", `{\"Key\": \"report-2026-11-x7Rk2PqLm9.pdf\"}`},
		{"public key", "public_key: x7Rk2PqLm9Zt4WvB8NcY3HdS6"},
		{"PEM certificate", "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ\n-----END CERTIFICATE-----"},
		{"talk of private keys", "Paste what begins with -----BEGIN PRIVATE KEY----- into the form, please."},
		{"example key of AWS", "AKIA" + "IOSFODNN7EXAMPLE"},
		{"git remote on this host", "user@localhost"},
		{"package", "@scope/package@1.2.3"},
		{"decorator", "@property def x"},
		{"times", "2026-11-02T08:12:00Z, 1762000000, 1762000000000, 1762000000000000000"},
		{"card with a wrong check digit", "4111 1111 1111 1112"},
		{"no network's number", "1234 5678 9012 3452"},
		{"fraction", "0.4111111111111111"},
		{"longer number", "41111111111111111111111"},
		{"hexadecimal", "a4111111111111111b"},
		{"table", "41 11 11 11 11 11 11 11"},
		{"UUID", "4f2c1111-1111-4111-8111-111111111111"},
		{"IBAN with wrong check digits", "GB83 WEST 1234 5698 7654 32"},
		{"IBAN of no country", "XX82 WEST 1234 5698 7654 32"},
		{"IBAN of another length", "GB82 WEST 1234 5698 7654 3"},
		{"date", "05/11/2026 08:30, 2026-11-02, 01.02.2026"},
		{"offset", "2026-11-02T08:12:00+01:00 and +0100"},
		{"version", "1.2.3.4567, 10.0.19041.1234"},
		{"IP address", "192.168.100.200"},
		{"order number", "0012345678 and 000-123-456"},
		{"sum", "1+441234567890"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := newRedactor(t, everything).Text(test.in); got != test.in {
				t.Errorf("Text(%q) = %q, want it unchanged", test.in, got)
			}
		})
	}
}

func TestJSONKeepsWhatItDoesNotChange(t *testing.T) {
	t.Parallel()
	const in = `{ "a": [1, 2.50, "caf\u00e9"],  "to": "` + address + `", "z":null }`
	if got, want := masked(t, everything, in), `{ "a": [1, 2.50, "caf\u00e9"],  "to": "[email]", "z":null }`; got != want {
		t.Errorf("JSON = %s, want %s", got, want)
	}
	if out, found, err := newRedactor(t, defaults).JSON(jsontext.Value(in)); out != nil || found.Total() != 0 || err != nil {
		t.Errorf("JSON without anything to mask = %s, %v, %v, want nil", out, found, err)
	}
}

func TestClassesAreCountedAndOffIsLeftAlone(t *testing.T) {
	t.Parallel()
	in := jsontext.Value(`["` + address + `","` + visa + `","5500000000000004"]`)
	_, found, err := newRedactor(t, everything).JSON(in)
	if got := found.String(); err != nil || found.Total() != 3 || got != "card:2 email:1" {
		t.Errorf("found %q (%d), %v, want card:2 email:1", got, found.Total(), err)
	}
	if got, want := masked(t, defaults, string(in)), `["`+address+`","[card]","[card]"]`; got != want {
		t.Errorf("JSON = %s, want %s", got, want)
	}
	var none *redact.Redactor
	if out, _, err := none.JSON(in); out != nil || err != nil {
		t.Errorf("JSON of no Redactor = %s, %v, want nothing", out, err)
	}
}

func TestDeniedClassIsNamedAndItsValueIsNot(t *testing.T) {
	t.Parallel()
	cfg := everything
	cfg.Card = redact.Deny
	out, _, err := newRedactor(t, cfg).JSON(jsontext.Value(`{"a":"` + address + `","b":"` + visa + `"}`))
	if out != nil || !errors.Is(err, redact.ErrDenied) {
		t.Fatalf("JSON = %s, %v, want ErrDenied", out, err)
	}
	if !strings.Contains(err.Error(), "card") || strings.Contains(err.Error(), "1111") {
		t.Errorf("error = %v, want the class and not the value", err)
	}
}

func TestNamesOfMembersTellWhatTheirValuesAre(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"db_password":"` + genericKey + `"}`:     `{"db_password":"[secret:generic-api-key]"}`,
		`{"page_token":"` + genericKey + `"}`:      `{"page_token":"` + genericKey + `"}`,
		`{"progressToken":"` + genericKey + `"}`:   `{"progressToken":"` + genericKey + `"}`,
		`{"key":"` + genericKey + `"}`:             `{"key":"` + genericKey + `"}`,
		`{"apiKey":"` + genericKey + `"}`:          `{"apiKey":"[secret:generic-api-key]"}`,
		`{"title":"` + genericKey + `"}`:           `{"title":"` + genericKey + `"}`,
		`{"phones":["02079460958","7946 0958"]}`:   `{"phones":["[phone]","[phone]"]}`,
		`{"mobile":447700900123,"n":447700900123}`: `{"mobile":"[phone]","n":447700900123}`,
		`{"phone":{"id":"02079460958"}}`:           `{"phone":{"id":"02079460958"}}`,
	} {
		if got := masked(t, everything, in); got != want {
			t.Errorf("JSON(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestBinaryContentIsLeftAlone(t *testing.T) {
	t.Parallel()
	blob := strings.Repeat("QUJD", 80) + awsKey
	for _, in := range []string{`{"type":"image","data":"` + blob + `"}`, `{"blob":"` + blob + `"}`} {
		if got := masked(t, everything, in); got != in {
			t.Errorf("JSON(%s) = %s", in, got)
		}
	}
	for _, in := range []string{`{"data":"` + awsKey + `"}`, `{"data":"` + strings.Repeat("words ", 50) + awsKey + `"}`} {
		if got := masked(t, everything, in); strings.Contains(got, awsKey) {
			t.Errorf("JSON(%s) = %s: a key passes for a blob", in, got)
		}
	}
}

func TestArgumentsAreKeptWithoutSecrets(t *testing.T) {
	t.Parallel()
	deny := newRedactor(t, redact.Config{Card: redact.Deny})
	var none *redact.Redactor
	for _, test := range []struct {
		name     string
		r        *redact.Redactor
		in, want string
	}{
		{"nothing to mask", deny, `{"id": "m1"}`, `{"id": "m1"}`},
		{"a class that is denied", deny, `{"a":"` + visa + `"}`, `{"a":"[card]"}`},
		{"a class that is off", deny, `{"a":"` + address + `"}`, `{"a":"` + address + `"}`},
		{"a secret, though secrets are off", deny, `{"a":"` + githubToken + `"}`, `{"a":"[secret:github-pat]"}`},
		{"a secret, without a Redactor", none, `{"a":"` + githubToken + `"}`, `{"a":"[secret:github-pat]"}`},
		{"no arguments", deny, ``, ``},
		{"no JSON", deny, `{"a":`, ``},
		{"more than the audit log takes", deny, `"` + strings.Repeat("x", 17<<10) + `"`, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, string(test.r.Arguments(jsontext.Value(test.in)))); diff != "" {
				t.Errorf("Arguments (-want +got):\n%s", diff)
			}
		})
	}
	if got := none.Text("use " + githubToken); got != "use [secret:github-pat]" {
		t.Errorf("Text without a Redactor = %q", got)
	}
}

func TestActionsAreRead(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]redact.Action{"off": redact.Off, "mask": redact.Mask, "deny": redact.Deny} {
		if got, err := redact.ParseAction(s); got != want || err != nil {
			t.Errorf("ParseAction(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := redact.ParseAction("Mask"); err == nil {
		t.Error("ParseAction(Mask) is no error")
	}
	if _, err := redact.New(redact.Config{Card: 3}); err == nil {
		t.Error("New with an action that is none is no error")
	}
}
