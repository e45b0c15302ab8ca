package op

var indexOps = table{}
