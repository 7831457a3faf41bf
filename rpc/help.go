package rpc

import (
	"context"
	"fmt"
	"strings"
)

// help is `pollux rpc help`: words for a reader, made of what the target says
// about its methods.
func (c *command) help(ctx context.Context, client *Client) (string, error) {
	params := describeParams{}
	if len(c.words) > 0 {
		params.Name = c.words[0]
	}
	var infos []MethodInfo
	if err := client.Call(ctx, "rpc_describe_methods", params, &infos); err != nil {
		return "", explainCall("help", err)
	}
	if params.Name != "" {
		return infos[0].text(), nil
	}
	var b strings.Builder
	for _, m := range infos {
		fmt.Fprintf(&b, "%-36s %s\n", m.Name, m.Help)
	}
	return b.String(), nil
}

// text describes one method.
func (m MethodInfo) text() string {
	var b strings.Builder
	fmt.Fprintln(&b, m.Name)
	if m.Help != "" {
		fmt.Fprintf(&b, "  %s\n", m.Help)
	}
	if len(m.Aliases) > 0 {
		fmt.Fprintf(&b, "  Older names: %s.\n", strings.Join(m.Aliases, ", "))
	}
	switch {
	case !m.Runtime:
		fmt.Fprintln(&b, "  Only before framework_start_init.")
	case !m.Startup:
		fmt.Fprintln(&b, "  Only after framework_start_init.")
	}
	for _, p := range m.Params {
		required := "optional"
		if p.Required {
			required = "required"
		}
		fmt.Fprintf(&b, "    %-28s %s, %s", p.Name, p.Type, required)
		if len(p.Enum) > 0 {
			fmt.Fprintf(&b, ": %s", strings.Join(p.Enum, ", "))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}
