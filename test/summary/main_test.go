package main

import (
	"strings"
	"testing"
)

const events = `{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"    a_test.go:1: note: 3 rounds\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"    a_test.go:2: chatter\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:3: want 1, got 2\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"output","Package":"p","Test":"TestIdle","Output":"    a_test.go:4: no peer\n"}
{"Action":"output","Package":"p","Test":"TestIdle","Output":"--- SKIP: TestIdle (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"skip","Package":"p","Test":"TestIdle"}
{"Action":"build-output","ImportPath":"q","Output":"q.go:1: undefined: x\n"}
{"Action":"output","Package":"p","Output":"panic: on the way out\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.01s\n"}
{"Action":"fail","Package":"p"}
no packages to test
`

func TestSummary(t *testing.T) {
	var out strings.Builder
	if err := summarize(strings.NewReader(events), &out); err != nil {
		t.Fatal(err)
	}
	want := `note: 3 rounds
    a_test.go:3: want 1, got 2
--- FAIL: TestBad (0.00s)
skipped TestIdle: no peer
q.go:1: undefined: x
panic: on the way out
FAIL	p	0.01s
no packages to test
`
	if out.String() != want {
		t.Errorf("summary:\n%swant:\n%s", out.String(), want)
	}
}
