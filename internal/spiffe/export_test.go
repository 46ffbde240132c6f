package spiffe

// NewPausing is New with another pause between two reads of a bundle.
var NewPausing = newSource
