package redact

// group is digits in a row.
type group struct{ start, end int }

func (g group) len() int { return g.end - g.start }

// maxGap is how many characters may be between the groups of one number.
const maxGap = 3

// isGap recognises what may be between the groups of a number.
func isGap(c byte) bool {
	switch c {
	case ' ', '-', '\t', '\n', '\r', '\v', '\f':
		return true
	}
	return false
}

// chainsOf returns the groups of digits in t, in chains of those with nothing between
// them but what is between the parts of a number.
func chainsOf(t string) (chains [][]group) {
	var chain []group
	for i := 0; i < len(t); {
		if !isDigit(t[i]) {
			i++
			continue
		}
		g := group{start: i}
		for i < len(t) && isDigit(t[i]) {
			i++
		}
		g.end = i
		if len(chain) > 0 && !linked(t[chain[len(chain)-1].end:g.start]) {
			chains, chain = append(chains, chain), nil
		}
		chain = append(chain, g)
	}
	if chain != nil {
		chains = append(chains, chain)
	}
	return chains
}

func linked(between string) bool {
	if len(between) > maxGap {
		return false
	}
	for i := range len(between) {
		if c := between[i]; !isGap(c) && c != '.' && c != '/' && c != '(' && c != ')' {
			return false
		}
	}
	return true
}

// joined is the digits of the groups.
func joined(t string, groups []group) []byte {
	var out []byte
	for _, g := range groups {
		out = append(out, t[g.start:g.end]...)
	}
	return out
}
