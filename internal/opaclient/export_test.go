package opaclient

// ThisMachine is what a connection in the clear must lead to.
var ThisMachine = thisMachine
