package op

var activationOps = table{}
