package op

var reduceOps = table{}
