//go:build !race

package policies_test

// smallModelStep: all questions are asked.
const smallModelStep = 1
