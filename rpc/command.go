package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// DefaultSocket is where SPDK's clients look for the target.
const DefaultSocket = "/var/tmp/spdk.sock"

// The exit codes of Command.
const (
	exitDone   = 0
	exitFailed = 1
	exitMisuse = 2
)

const commandUsage = `Usage: pollux rpc [options] METHOD ['{JSON}' | - | KEY=VALUE ...]

Call a method of a running target and print its result as JSON.

  -s, --socket PATH      socket of the target (default ` + DefaultSocket + `)
  -t, --timeout SECONDS  how long to wait for the reply (default 60, 0 = for ever)
  -h, --help             print this

Parameters are a JSON object, or - to read one from standard input, or pairs.
A VALUE that is a number, true, false, null, [...], {...} or "..." is taken as
JSON, and anything else as a string. A dot in KEY makes objects: a.b=1 is
{"a":{"b":1}}. A string that looks like a number is put in quotes: port='"80"'.

  help [METHOD]          list the methods, or describe one and its parameters
  save_config            print the configuration of the target
  load_config            load one from standard input into the target

Examples:
  pollux rpc rpc_get_methods
  pollux rpc bdev_malloc_create name=Malloc0 num_blocks=131072 block_size=512
  pollux rpc iscsi_create_portal_group tag=1 'portals=[{"host":"::1","port":"3260"}]'
  pollux rpc save_config >target.json

Exit status: 0 done, 1 failed, 2 misused.
`

// Command is `pollux rpc`: args are what follows these two words, and the
// result is the exit code. The result of the method goes to stdout, and words
// about a failure go to stderr.
func Command(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	call, err := parseCommand(args, stdin)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, commandUsage)
		return exitDone
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "pollux rpc: %v\nTry 'pollux rpc --help'.\n", err)
		return exitMisuse
	}
	if err := call.do(stdin, stdout, stderr); err != nil {
		_, _ = fmt.Fprintf(stderr, "pollux rpc: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// command is a parsed command line.
type command struct {
	socket  string
	timeout time.Duration
	method  string
	words   []string // after METHOD
	params  any
}

func parseCommand(args []string, stdin io.Reader) (*command, error) {
	c := &command{}
	seconds := 60.0
	flags := flag.NewFlagSet("rpc", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.socket, "socket", DefaultSocket, "")
	flags.StringVar(&c.socket, "s", DefaultSocket, "")
	flags.Float64Var(&seconds, "timeout", seconds, "")
	flags.Float64Var(&seconds, "t", seconds, "")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() == 0 {
		return nil, errors.New("METHOD is missing")
	}
	if seconds < 0 || seconds > 1e9 {
		return nil, fmt.Errorf("a timeout of %g seconds", seconds)
	}
	c.timeout = time.Duration(seconds * float64(time.Second))
	c.method, c.words = flags.Arg(0), flags.Args()[1:]
	return c, c.parseWords(stdin)
}

// parseWords reads what follows METHOD: its parameters, but for the commands
// that are not methods.
func (c *command) parseWords(stdin io.Reader) (err error) {
	wordsMax := map[string]int{"help": 1, "save_config": 0, "load_config": 0}
	most, local := wordsMax[c.method]
	switch {
	case !local:
		c.params, err = parseParams(c.words, stdin)
	case len(c.words) > most:
		err = fmt.Errorf("%s: too many words", c.method)
	}
	return err
}

// parseParams reads the words after METHOD; none is nil.
func parseParams(words []string, stdin io.Reader) (any, error) {
	switch {
	case len(words) == 0:
		return nil, nil
	case len(words) == 1 && words[0] == "-":
		text, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return parseObject(text, "standard input")
	case len(words) == 1 && strings.HasPrefix(strings.TrimSpace(words[0]), "{"):
		return parseObject([]byte(words[0]), "parameters")
	}
	params := map[string]any{}
	for _, word := range words {
		key, text, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q is not KEY=VALUE; options stand before METHOD", word)
		}
		if err := setPath(params, key, guessValue(text)); err != nil {
			return nil, err
		}
	}
	return params, nil
}

func parseObject(text []byte, what string) (any, error) {
	text = bytes.TrimSpace(text)
	if !json.Valid(text) || len(text) == 0 || text[0] != '{' {
		return nil, fmt.Errorf("%s: not a JSON object", what)
	}
	return json.RawMessage(text), nil
}

// guessValue takes what looks like JSON as JSON and the rest as a string.
func guessValue(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

// setPath sets params["a"]["b"] for the key "a.b".
func setPath(params map[string]any, key string, v any) error {
	object := params
	names := strings.Split(key, ".")
	for _, name := range names[:len(names)-1] {
		if object[name] == nil {
			object[name] = map[string]any{}
		}
		inner, ok := object[name].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: %s has a value already", key, name)
		}
		object = inner
	}
	last := names[len(names)-1]
	if _, ok := object[last]; ok {
		return fmt.Errorf("%s is given twice", key)
	}
	object[last] = v
	return nil
}

// do connects, calls and prints.
func (c *command) do(stdin io.Reader, stdout, stderr io.Writer) error {
	client, err := Dial(c.socket)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if c.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
	}
	defer cancel()
	if c.method == "help" {
		text, err := c.help(ctx, client)
		if err == nil {
			_, err = io.WriteString(stdout, text)
		}
		return err
	}
	result, err := c.result(ctx, client, stdin, stderr)
	if err != nil {
		return err
	}
	return printResult(stdout, result)
}

// result calls the method, or does what SPDK leaves to clients: the save and
// the load of a configuration.
func (c *command) result(ctx context.Context, client *Client, stdin io.Reader, stderr io.Writer) (any, error) {
	switch c.method {
	case "save_config":
		return client.SaveConfig(ctx)
	case "load_config":
		skipped, err := client.LoadConfig(ctx, stdin)
		for _, entry := range skipped {
			_, _ = fmt.Fprintf(stderr, "pollux rpc: %s: skipped: it may only be called before the target is initialized\n", entry)
		}
		return None{}, err
	}
	var result json.RawMessage
	if err := client.Call(ctx, c.method, c.params, &result); err != nil {
		return nil, explainCall(c.method, err)
	}
	return result, nil
}

// explainCall puts the code behind the words, where scripts find it.
func explainCall(method string, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return fmt.Errorf("%s: %s (%d)", method, e.Message, e.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no reply in time; the target may still be at it (see --timeout)", method)
	}
	return err
}

func printResult(w io.Writer, result any) error {
	raw, err := encode(result)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	_, err = indented.WriteTo(w)
	return err
}
