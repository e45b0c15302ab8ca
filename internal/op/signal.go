package op

var signalOps = table{}
