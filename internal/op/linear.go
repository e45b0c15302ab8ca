package op

var linearOps = table{}
