package op

var randomOps = table{}
