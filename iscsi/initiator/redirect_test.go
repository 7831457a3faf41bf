package initiator

import "testing"

func TestPortalsOfRedirections(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:3261": "192.0.2.1:3261", "192.0.2.1:3261,7": "192.0.2.1:3261", "192.0.2.1": "192.0.2.1:3260", "[2001:db8::1]:9,1": "[2001:db8::1]:9",
		"[2001:db8::1]": "[2001:db8::1]:3260", "storage.example.com,2": "storage.example.com:3260", "": "", ",1": "",
	} {
		if got, err := redirectPortal(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q became %q, %v; want %q", address, got, err, want)
		}
	}
}
