package op

var convOps = table{}
