package metadata_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/metadata"
)

var now = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

func TestFresh(t *testing.T) {
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		headers []string
		want    time.Duration
	}{
		"nothing said":                          {nil, time.Minute},
		"max-age":                               {[]string{"Cache-Control", "max-age=600"}, 10 * time.Minute},
		"max-age in quotes and capitals":        {[]string{"Cache-Control", `public, Max-Age="600"`}, 10 * time.Minute},
		"max-age below the floor":               {[]string{"Cache-Control", "max-age=0"}, time.Minute},
		"max-age above the ceiling":             {[]string{"Cache-Control", "max-age=31536000"}, time.Hour},
		"max-age beyond any number":             {[]string{"Cache-Control", "max-age=99999999999999999999999999"}, time.Hour},
		"max-age that is none":                  {[]string{"Cache-Control", "max-age=-1"}, time.Minute},
		"max-age that is empty":                 {[]string{"Cache-Control", "max-age"}, time.Minute},
		"max-age for all, s-maxage for us":      {[]string{"Cache-Control", "max-age=600, s-maxage=1200"}, 20 * time.Minute},
		"two max-age":                           {[]string{"Cache-Control", "max-age=600, max-age=1200"}, 10 * time.Minute},
		"an age":                                {[]string{"Cache-Control", "max-age=600", "Age", "300"}, 5 * time.Minute},
		"an age of more than all":               {[]string{"Cache-Control", "max-age=600", "Age", "99999999999999999999"}, time.Minute},
		"an age that is none":                   {[]string{"Cache-Control", "max-age=600", "Age", "-300"}, 10 * time.Minute},
		"a year of max-age and months of age":   {[]string{"Cache-Control", "max-age=31536000", "Age", "10000000"}, time.Hour},
		"no-store":                              {[]string{"Cache-Control", "no-store, max-age=600"}, time.Minute},
		"no-cache":                              {[]string{"Cache-Control", "max-age=600, no-cache"}, time.Minute},
		"private":                               {[]string{"Cache-Control", "max-age=600, Private"}, time.Minute},
		"Expires":                               {[]string{"Expires", in(30 * time.Minute), "Date", in(0)}, 30 * time.Minute},
		"Expires of a clock that is off":        {[]string{"Expires", in(-30 * time.Minute), "Date", in(-time.Hour)}, 30 * time.Minute},
		"Expires and an age":                    {[]string{"Expires", in(30 * time.Minute), "Date", in(0), "Age", "600"}, 20 * time.Minute},
		"Expires in the past":                   {[]string{"Expires", in(-time.Hour), "Date", in(0)}, time.Minute},
		"Expires at the begin of time, and old": {[]string{"Expires", "Mon, 01 Jan 0001 00:00:00 GMT", "Date", in(0), "Age", "2147483648"}, time.Minute},
		"Expires that is none":                  {[]string{"Expires", "0", "Date", in(0)}, time.Minute},
		"Expires in a distant future":           {[]string{"Expires", "Fri, 31 Dec 9999 23:59:59 GMT", "Date", in(0)}, time.Hour},
		"Expires and max-age":                   {[]string{"Expires", in(30 * time.Minute), "Cache-Control", "max-age=600"}, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, metadata.FetcherConfig{Now: func() time.Time { return now }}, says(test.headers...))
			got, err := w.get(t, clientURL)
			if err != nil {
				t.Fatal(err)
			}
			if d := got.Fresh.Sub(now); d != test.want {
				t.Errorf("fresh for %v, want %v", d, test.want)
			}
		})
	}
}

// FuzzLifetime: no headers overflow into a freshness that is not there.
func FuzzLifetime(f *testing.F) {
	f.Add("max-age=600, no-cache", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "2147483648")
	f.Add(`s-maxage="1",,=,max-age`, "", "", "-1")
	f.Fuzz(func(t *testing.T, cacheControl, expires, date, age string) {
		d := metadata.Lifetime(http.Header{"Cache-Control": {cacheControl}, "Expires": {expires}, "Date": {date}, "Age": {age}}, now)
		if d < -1<<31*time.Second || d > 0 && cacheControl == "" && expires == "" {
			t.Errorf("lifetime %v", d)
		}
		older := metadata.Lifetime(http.Header{"Cache-Control": {cacheControl}, "Expires": {expires}, "Date": {date}, "Age": {"4294967296"}}, now)
		if older > max(d, 0) {
			t.Errorf("lifetime %v, and %v when it is older", d, older)
		}
	})
}
