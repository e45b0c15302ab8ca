package op

var castOps = table{}
