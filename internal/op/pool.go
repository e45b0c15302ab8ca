package op

var poolOps = table{}
