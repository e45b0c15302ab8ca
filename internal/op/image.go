package op

var imageOps = table{}
