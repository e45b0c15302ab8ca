package op

var fusedOps = table{}
