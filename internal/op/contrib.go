package op

var contribOps = table{}
