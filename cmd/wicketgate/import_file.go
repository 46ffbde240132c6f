package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// newFile is the file of the MCP client with its servers at the gateway; everything else
// in it stays, in its order.
func (p *importPlan) newFile() ([]byte, error) {
	moved := map[string]string{}
	for _, s := range p.servers {
		moved[s.Written] = p.settings.Issuer + "/mcp/" + s.Name
	}
	out, err := eachMember(p.file, func(name string, value jsontext.Value) (jsontext.Value, error) {
		if name != "mcpServers" && name != "servers" {
			return value, nil
		}
		return eachMember(value, func(name string, value jsontext.Value) (jsontext.Value, error) {
			if url, ok := moved[name]; ok {
				return atGateway(value, url)
			}
			return value, nil
		})
	})
	if err != nil {
		return nil, err
	}
	if err := out.Indent(jsontext.WithIndent("  ")); err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}

// atGateway is the entry of a server, which is at the url now: with what else a client has
// there for itself.
func atGateway(entry []byte, url string) (jsontext.Value, error) {
	kept, err := eachMember(entry, func(name string, value jsontext.Value) (jsontext.Value, error) {
		if slices.Contains([]string{"type", "command", "args", "env", "cwd", "url", "headers"}, name) {
			return nil, nil
		}
		return value, nil
	})
	if err != nil {
		return nil, err
	}
	rest := bytes.TrimPrefix(kept, []byte("{"))
	if !bytes.Equal(rest, []byte("}")) {
		rest = append([]byte(","), rest...)
	}
	return append(fmt.Appendf(nil, `{"type":"http","url":%s`, quoted(url)), rest...), nil
}

// eachMember is the object with each value as f has it, without those of which it makes nil.
func eachMember(object []byte, f func(name string, value jsontext.Value) (jsontext.Value, error)) (jsontext.Value, error) {
	d := jsontext.NewDecoder(bytes.NewReader(object))
	var out bytes.Buffer
	e := jsontext.NewEncoder(&out)
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, errors.Join(errors.New("want an object"), err)
	}
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return nil, err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		text := name.String() // before the decoder moves on
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		replaced, err := f(text, slices.Clone(value))
		if err != nil {
			return nil, err
		}
		if replaced == nil {
			continue
		}
		if err := errors.Join(e.WriteToken(jsontext.String(text)), e.WriteValue(replaced)); err != nil {
			return nil, err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	err := e.WriteToken(jsontext.EndObject)
	return bytes.TrimSpace(out.Bytes()), err
}

// print says what would be done, and no value of a key.
func (p *importPlan) print(out io.Writer) error {
	var b bytes.Buffer
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, n := range p.notes {
		say("note: %s", n)
	}
	if len(p.servers) == 0 {
		say("There is no server to move.")
	}
	for i, s := range p.servers {
		if i == 0 {
			say("Vault (%s):", p.vaultAddress())
		}
		for _, w := range p.vaultWrites(s) {
			say("  %-8s %s: %s", w.verb, w.path, w.what)
		}
	}
	if p.config != nil {
		say("%s, added:", p.flags.config)
		for _, s := range p.servers {
			writeEntries(&b, 2, "- ", []string{p.entry(s)})
		}
	}
	if p.access != nil {
		for _, s := range p.servers {
			say("%s: role %s of %s (%s), with every approved tool of %s", p.accessPath(), s.role(), p.flags.allow, p.kind(), s.Name)
		}
	}
	for _, s := range p.servers {
		say("%s: %s becomes %s/mcp/%s", p.flags.mcpJSON, s.Written, p.settings.Issuer, s.Name)
	}
	_, err := out.Write(b.Bytes())
	return err
}

// printNext says what a person has to do after it.
func (p *importPlan) printNext(out io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\nDone. The keys are in Vault, and in %s no more.\nNext:\n", p.flags.mcpJSON)
	for _, s := range p.servers {
		if len(s.Command) > 0 {
			fmt.Fprintf(&b, "  - %s runs in a sandbox now: see that %s gives it what it needs of the machine (sandbox; docs/protect-a-server.md)\n", s.Name, p.flags.config)
		}
	}
	fmt.Fprintf(&b, "  - restart wicketgate serve: it reads %s at its start\n", p.flags.config)
	if p.settings.Trust == "approve" {
		fmt.Fprintf(&b, "  - wicketgate tools list --config %s: approve the tools of the servers\n", p.flags.config)
	}
	if p.flags.allow == "" {
		fmt.Fprintln(&b, "  - grant the servers in access.yaml (or run it again with --allow SUBJECT): nobody may call them yet")
	}
	fmt.Fprintln(&b, "  - give the keys a new value where they come from: copies of the file may still have the old ones")
	_, err := out.Write(b.Bytes())
	return err
}

func (p *importPlan) vaultAddress() string {
	if p.settings.house.Vault == nil {
		return "not needed"
	}
	return p.settings.house.Vault.Address
}
