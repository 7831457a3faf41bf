package iscsi

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// anyEntry is the word that matches every initiator name, and every address. Old configurations say ALL.
const anyEntry = "ANY"

// InitiatorGroup says who belongs to it: by name and by address. Control plane; immutable once it is in a configuration.
type InitiatorGroup struct {
	Tag        int32
	Initiators []string // names, ANY, or either with a leading ! which excludes; the first entry that matches decides
	Netmasks   []string // ANY or an address with a prefix length

	prefixes []netip.Prefix // of Netmasks
	anywhere bool           // Netmasks contains ANY
}

// NewInitiatorGroup checks the entries.
func NewInitiatorGroup(tag int32, initiators, netmasks []string) (*InitiatorGroup, error) {
	if err := checkTag(tag); err != nil {
		return nil, fmt.Errorf("initiator group %d: %w", tag, err)
	}
	g := &InitiatorGroup{Tag: tag}
	if err := errors.Join(g.addNames(initiators), g.addNetmasks(netmasks)); err != nil {
		return nil, fmt.Errorf("initiator group %d: %w", tag, err)
	}
	return g, nil
}

func (g *InitiatorGroup) addNames(names []string) error {
	for _, name := range names {
		not, bare := "", name
		if rest, ok := strings.CutPrefix(name, "!"); ok {
			not, bare = "!", rest
		}
		if strings.EqualFold(bare, "ALL") || strings.EqualFold(bare, anyEntry) {
			bare = anyEntry
		} else if len(bare) == 0 || len(bare) > NameMax {
			return fmt.Errorf("initiator name %q has %d bytes, not 1 to %d", name, len(bare), NameMax)
		}
		if slices.Contains(g.Initiators, not+bare) {
			return fmt.Errorf("initiator name %q is there twice", name)
		}
		g.Initiators = append(g.Initiators, not+bare)
	}
	if len(g.Initiators) > EntriesPerGroup {
		return fmt.Errorf("%d initiator names exceed %d", len(g.Initiators), EntriesPerGroup)
	}
	return nil
}

func (g *InitiatorGroup) addNetmasks(masks []string) error {
	for _, mask := range masks {
		if strings.EqualFold(mask, "ALL") {
			mask = anyEntry
		}
		if slices.Contains(g.Netmasks, mask) {
			return fmt.Errorf("netmask %q is there twice", mask)
		}
		if err := g.addNetmask(mask); err != nil {
			return err
		}
		g.Netmasks = append(g.Netmasks, mask)
	}
	if len(g.Netmasks) > EntriesPerGroup {
		return fmt.Errorf("%d netmasks exceed %d", len(g.Netmasks), EntriesPerGroup)
	}
	return nil
}

func (g *InitiatorGroup) addNetmask(mask string) error {
	if strings.EqualFold(mask, anyEntry) {
		g.anywhere = true
		return nil
	}
	p, err := parseNetmask(mask)
	if err != nil {
		return err
	}
	g.prefixes = append(g.prefixes, p)
	return nil
}

// parseNetmask reads "10.0.0.0/8", "[fe80::]/10", "::1/128", and an address alone, which stands for itself.
func parseNetmask(mask string) (netip.Prefix, error) {
	text := strings.NewReplacer("[", "", "]", "").Replace(mask)
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("netmask %q is neither ANY nor an address with a prefix length", mask)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("netmask %q is neither ANY nor an address with a prefix length", mask)
	}
	return p.Masked(), nil
}

// with returns a copy that has more entries.
func (g *InitiatorGroup) with(initiators, netmasks []string) (*InitiatorGroup, error) {
	return NewInitiatorGroup(g.Tag, slices.Concat(g.Initiators, initiators), slices.Concat(g.Netmasks, netmasks))
}

// without returns a copy that lacks entries, all of which must be there.
func (g *InitiatorGroup) without(initiators, netmasks []string) (*InitiatorGroup, error) {
	names, err := remove(g.Initiators, initiators)
	if err != nil {
		return nil, fmt.Errorf("initiator group %d: initiator name %w", g.Tag, err)
	}
	masks, err := remove(g.Netmasks, netmasks)
	if err != nil {
		return nil, fmt.Errorf("initiator group %d: netmask %w", g.Tag, err)
	}
	return NewInitiatorGroup(g.Tag, names, masks)
}

func remove(from, what []string) ([]string, error) {
	rest := slices.Clone(from)
	for _, w := range what {
		i := slices.IndexFunc(rest, func(s string) bool { return strings.EqualFold(s, w) })
		if i < 0 {
			return nil, fmt.Errorf("%q is not in the group", w)
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return rest, nil
}

// hasAddress reports whether a netmask covers addr.
func (g *InitiatorGroup) hasAddress(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return g.anywhere || slices.ContainsFunc(g.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// verdict is what an initiator group says of an initiator.
type verdict uint8

const (
	verdictNone  verdict = iota // no entry matches
	verdictAllow                // the first entry that matches allows
	verdictDeny                 // the first entry that matches begins with !
)

// judge applies the group to an initiator at an address.
func (g *InitiatorGroup) judge(name string, addr netip.Addr) verdict {
	if !g.hasAddress(addr) {
		return verdictNone
	}
	for _, entry := range g.Initiators {
		bare, not := strings.CutPrefix(entry, "!")
		if bare != anyEntry && !strings.EqualFold(bare, name) {
			continue
		}
		if not {
			return verdictDeny
		}
		return verdictAllow
	}
	return verdictNone
}

func checkTag(tag int32) error {
	if tag < 1 || tag > TagMax {
		return fmt.Errorf("the tag is not between 1 and %d", TagMax)
	}
	return nil
}

// checkName holds a name to the form of RFC 7143 4.2.7: iqn., eui. or naa., at most 223 bytes. Names that differ only in
// case are the same (4.2.7.2).
func checkName(name string) error {
	switch {
	case len(name) > NameMax:
		return fmt.Errorf("name has %d bytes, more than %d", len(name), NameMax)
	case !strings.HasPrefix(name, "iqn.") && !strings.HasPrefix(name, "eui.") && !strings.HasPrefix(name, "naa."):
		return fmt.Errorf("name %q has none of the prefixes iqn, eui and naa", name)
	}
	for _, c := range name {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == ':' || c >= 0x80
		if !ok {
			return fmt.Errorf("name %q contains %q", name, c)
		}
	}
	return nil
}
