package op

var lossOps = table{}
