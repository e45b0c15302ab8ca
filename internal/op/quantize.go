package op

var quantizeOps = table{}
