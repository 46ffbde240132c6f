package redact

import "slices"

// keywords finds many words at once, whatever their case (Aho and Corasick 1975), as a
// table with a row for each state and a column for each byte that any word has.
type keywords struct {
	column [256]uint8 // 0: in no word
	width  int
	next   []uint16
	words  [][]int32 // that end in a state
	length []int     // of each word
}

// newKeywords takes words in lower case.
func newKeywords(words []string) *keywords {
	k := &keywords{width: 1, words: [][]int32{nil}}
	for _, w := range words {
		k.length = append(k.length, len(w))
		for _, c := range []byte(w) {
			if k.column[c] == 0 {
				k.column[c] = uint8(k.width)
				k.width++
			}
		}
	}
	for c := 'a'; c <= 'z'; c++ {
		k.column[c-'a'+'A'] = k.column[c]
	}
	k.next = make([]uint16, k.width)
	for i, w := range words {
		k.insert(int32(i), w)
	}
	k.link()
	return k
}

func (k *keywords) insert(id int32, w string) {
	state := 0
	for _, c := range []byte(w) {
		at := state*k.width + int(k.column[c])
		if k.next[at] == 0 {
			k.next[at] = uint16(len(k.words))
			k.words = append(k.words, nil)
			k.next = append(k.next, make([]uint16, k.width)...)
		}
		state = int(k.next[at])
	}
	k.words[state] = append(k.words[state], id)
}

// link fills the steps that no word has with those of the longest word that the state
// also ends in the beginning of.
func (k *keywords) link() {
	fail := make([]uint16, len(k.words))
	queue := []uint16{0}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		row, back := k.row(state), k.row(fail[state])
		for c, to := range row {
			switch {
			case to == 0:
				row[c] = back[c]
			default:
				if state != 0 {
					fail[to] = back[c]
				}
				k.words[to] = slices.Concat(k.words[to], k.words[fail[to]])
				queue = append(queue, to)
			}
		}
		if state == 0 {
			fail[0] = 0
		}
	}
}

func (k *keywords) row(state uint16) []uint16 {
	return k.next[int(state)*k.width : (int(state)+1)*k.width]
}

// each calls f for every word in s, with its number and where it begins, in the order
// of their ends.
func (k *keywords) each(s string, f func(word int32, start int) error) error {
	state := 0
	for i := range len(s) {
		state = int(k.next[state*k.width+int(k.column[s[i]])])
		for _, w := range k.words[state] {
			if err := f(w, i+1-k.length[w]); err != nil {
				return err
			}
		}
	}
	return nil
}
