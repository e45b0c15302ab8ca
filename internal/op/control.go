package op

var controlOps = table{}
