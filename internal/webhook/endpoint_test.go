package webhook_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/webhook"
)

func TestParseEndpointRefuses(t *testing.T) {
	for name, test := range map[string]struct{ url, secrets string }{
		"http elsewhere":            {"http://chat.example/hooks", secret},
		"http of a name like ours":  {"http://localhost.example/hooks", secret},
		"user information":          {"https://u:hunter2@chat.example/", secret},
		"a fragment":                {"https://chat.example/#hunter2", secret},
		"another scheme":            {"ftp://127.0.0.1/hunter2", secret},
		"no host":                   {"https:///hunter2", secret},
		"no URL":                    {"https://chat.example/%zz-hunter2", secret},
		"no secret":                 {"https://chat.example/", "\n"},
		"a secret without prefix":   {"https://chat.example/", strings.TrimPrefix(secret, "whsec_")},
		"a short secret":            {"https://chat.example/", "whsec_aHVudGVyMg=="},
		"a long secret":             {"https://chat.example/", "whsec_" + strings.Repeat("aHVudGVy", 11)},
		"a secret that is no code":  {"https://chat.example/", "whsec_hunter2hunter2hunter2hunter2hunter2"},
		"one good and one bad line": {"https://chat.example/", secret + "\nhunter2"},
	} {
		_, err := webhook.ParseEndpoint(test.url, test.secrets)
		if err == nil {
			t.Errorf("%s is taken", name)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "aHVudGVy") {
			t.Errorf("%s: the error holds a secret: %v", name, err)
		}
	}
	for _, url := range []string{"https://chat.example/hooks?x=y", "http://127.0.0.1:9/x", "http://[::1]/x", "http://localhost/"} {
		if _, err := webhook.ParseEndpoint(url, secret+"\r\n"); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestSignatureIsThatOfTheStandard: an example of its reference implementations.
func TestSignatureIsThatOfTheStandard(t *testing.T) {
	e, err := webhook.ParseEndpoint("https://chat.example/", secret)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	m := webhook.Message{ID: "msg_p5jXN8AQM9LWM0D4loKWxJek", Body: []byte(`{"test": 2432232314}`)}
	if err := e.Sign(h, m, time.Unix(1614265330, 0)); err != nil {
		t.Fatal(err)
	}
	if got := h.Get("webhook-signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
}
