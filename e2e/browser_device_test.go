package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
)

var formHeader = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}

// device is a program without a browser that has asked for a code (RFC 8628 §3.2).
type device struct {
	*rawClient
	Code     string `json:"device_code"`
	UserCode string `json:"user_code"`
	Complete string `json:"verification_uri_complete"`
}

func (h *house) newDevice(t *testing.T) device {
	t.Helper()
	d := device{rawClient: &rawClient{h: h}}
	getJSON(t, h.url+"/.well-known/oauth-authorization-server", &d.meta)
	var at struct {
		Device string `json:"device_authorization_endpoint"`
	}
	getJSON(t, h.url+"/.well-known/oauth-authorization-server", &at)
	resp, body := send(t, http.MethodPost, d.meta.Registration, http.Header{"Content-Type": {"application/json"}},
		`{"client_name":"Television","grant_types":["urn:ietf:params:oauth:grant-type:device_code","refresh_token"],"response_types":[],"token_endpoint_auth_method":"none"}`)
	var registered struct {
		ID string `json:"client_id"`
	}
	if err := json.Unmarshal(body, &registered); err != nil || registered.ID == "" {
		t.Fatalf("register: %d %s", resp.StatusCode, body)
	}
	d.id = registered.ID
	resp, body = send(t, http.MethodPost, at.Device, formHeader, url.Values{"client_id": {d.id}, "resource": {h.resource()}}.Encode())
	if err := json.Unmarshal(body, &d); err != nil || d.UserCode == "" {
		t.Fatalf("device authorization: %d %s", resp.StatusCode, body)
	}
	return d
}

// poll asks once for tokens.
func (d device) poll(t *testing.T) tokenAnswer {
	t.Helper()
	return d.token(t, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.Code}})
}
