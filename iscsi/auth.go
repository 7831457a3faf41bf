package iscsi

import (
	"fmt"
	"slices"
)

// Secret is one user of an auth group: with User and Secret the initiator proves itself, with MutualUser and MutualSecret
// the target does.
type Secret struct {
	User         string `json:"user"`
	Secret       string `json:"secret"`
	MutualUser   string `json:"muser,omitempty"`
	MutualSecret string `json:"msecret,omitempty"`
}

func (s *Secret) check() error {
	if s.User == "" || len(s.User) > CHAPNameMax || len(s.MutualUser) > CHAPNameMax {
		return fmt.Errorf("user %q: a name has 1 to %d bytes", s.User, CHAPNameMax)
	}
	if (s.MutualUser == "") != (s.MutualSecret == "") {
		return fmt.Errorf("user %q has only one of muser and msecret", s.User)
	}
	if err := CheckCHAPSecret(s.Secret, s.MutualSecret); err != nil {
		return fmt.Errorf("user %q: %w", s.User, err)
	}
	if s.MutualSecret == "" {
		return nil
	}
	if err := CheckCHAPSecret(s.MutualSecret, s.Secret); err != nil {
		return fmt.Errorf("user %q: msecret: %w", s.User, err)
	}
	return nil
}

// AuthGroup is a list of CHAP users. Control plane; immutable once it is in a configuration.
type AuthGroup struct {
	Tag     int32
	Secrets []Secret
}

// NewAuthGroup checks the secrets.
func NewAuthGroup(tag int32, secrets []Secret) (*AuthGroup, error) {
	g := &AuthGroup{Tag: tag, Secrets: slices.Clone(secrets)}
	if err := checkTag(tag); err != nil {
		return nil, fmt.Errorf("auth group %d: %w", tag, err)
	}
	if len(secrets) > SecretsPerGroup {
		return nil, fmt.Errorf("auth group %d: %d secrets exceed %d", tag, len(secrets), SecretsPerGroup)
	}
	for i := range secrets {
		if err := secrets[i].check(); err != nil {
			return nil, fmt.Errorf("auth group %d: %w", tag, err)
		}
		if g.find(secrets[i].User) != &g.Secrets[i] {
			return nil, fmt.Errorf("auth group %d: user %q is there twice", tag, secrets[i].User)
		}
	}
	return g, nil
}

// find returns the user's entry, or nil.
func (g *AuthGroup) find(user string) *Secret {
	i := slices.IndexFunc(g.Secrets, func(s Secret) bool { return s.User == user })
	if i < 0 {
		return nil
	}
	return &g.Secrets[i]
}

func (g *AuthGroup) with(s Secret) (*AuthGroup, error) {
	return NewAuthGroup(g.Tag, append(slices.Clone(g.Secrets), s))
}

func (g *AuthGroup) without(user string) (*AuthGroup, error) {
	if g.find(user) == nil {
		return nil, fmt.Errorf("auth group %d: user %q is not in the group", g.Tag, user)
	}
	rest := slices.DeleteFunc(slices.Clone(g.Secrets), func(s Secret) bool { return s.User == user })
	return NewAuthGroup(g.Tag, rest)
}

// authPolicy is what a target, a portal group or discovery asks of a login.
type authPolicy struct {
	Disable bool  // AuthMethod None alone
	Require bool  // AuthMethod CHAP alone; with neither, the initiator chooses
	Mutual  bool  // the initiator must ask the target to prove itself
	Group   int32 // tag of the auth group, 0 for none
}

// newAuthPolicy refuses combinations that contradict themselves.
func newAuthPolicy(disable, require, mutual bool, group int32) (authPolicy, error) {
	p := authPolicy{Disable: disable, Require: require, Mutual: mutual, Group: group}
	switch {
	case group < 0:
		return p, fmt.Errorf("chap_group %d is negative", group)
	case disable && require:
		return p, fmt.Errorf("disable_chap and require_chap exclude one another")
	case mutual && !require:
		return p, fmt.Errorf("mutual_chap needs require_chap")
	}
	return p, nil
}
