package iscsi

import "testing"

// TestCHAPIsOfferedWhereSomebodyIsKnown: an initiator that would do with None is not led into CHAP that nobody can pass.
func TestCHAPIsOfferedWhereSomebodyIsKnown(t *testing.T) {
	group, err := NewAuthGroup(1, []Secret{{User: "alice", Secret: "alices-secret-1"}})
	if err != nil {
		t.Fatal(err)
	}
	c := &config{authGroups: []*AuthGroup{group}}
	for _, test := range []struct {
		policy     authPolicy
		none, chap bool
	}{
		{authPolicy{}, true, false},
		{authPolicy{Group: 1}, true, true},
		{authPolicy{Group: 2}, true, false},
		{authPolicy{Require: true}, false, true},
		{authPolicy{Disable: true, Group: 1}, true, false},
	} {
		if a := c.targetAuth(test.policy); a.AllowNone != test.none || a.AllowCHAP != test.chap {
			t.Errorf("%+v: None %t, CHAP %t", test.policy, a.AllowNone, a.AllowCHAP)
		}
	}
}
