// Program summary reads the output of "go test -json" and prints what a person wants of it: of a failed test everything it
// said, of a skipped one the reason, of a passed one the lines that begin with "note: ".
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// event is one line of go test -json; see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// key names a test, or with no test a package.
type key struct{ pkg, test string }

func main() {
	if err := summarize(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}

func summarize(r io.Reader, w io.Writer) error {
	said := map[key]*strings.Builder{}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			one(w, said, line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func one(w io.Writer, said map[key]*strings.Builder, line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprint(w, line) // the go command itself speaks
		return
	}
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "output":
		if said[k] == nil {
			said[k] = &strings.Builder{}
		}
		said[k].WriteString(e.Output)
	case "pass", "skip", "fail":
		if b := said[k]; b != nil {
			finish(w, e, b.String())
			delete(said, k)
		}
	}
}

// frame matches what go test says around a test rather than the test itself.
var (
	frame  = regexp.MustCompile(`^\s*(=== (RUN|PAUSE|CONT|NAME)\b|--- (PASS|SKIP)|PASS$|ok  |\?   |coverage:|testing: warning: no tests|warning: no packages)`)
	logged = regexp.MustCompile(`^\s*\w+\.go:\d+: (.*)`)
)

// finish prints what is left to say of a test or package that has ended.
func finish(w io.Writer, e event, output string) {
	reason := ""
	for line := range strings.Lines(output) {
		text := line
		if m := logged.FindStringSubmatch(line); m != nil {
			text, reason = m[1]+"\n", m[1]
		}
		switch {
		case e.Action == "fail" && !frame.MatchString(line):
			fmt.Fprint(w, line)
		case e.Action != "fail" && strings.HasPrefix(text, "note: "):
			fmt.Fprint(w, text)
		}
	}
	// A fuzz target skips the inputs it has no use for; a package without tests is skipped as well.
	if e.Action == "skip" && e.Test != "" && !strings.HasPrefix(e.Test, "Fuzz") {
		fmt.Fprintf(w, "skipped %s: %s\n", e.Test, reason)
	}
}
