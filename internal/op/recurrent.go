package op

var recurrentOps = table{}
