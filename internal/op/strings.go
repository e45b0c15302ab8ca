package op

var stringOps = table{}
