package op

var normOps = table{}
