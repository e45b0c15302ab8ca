package op

var sequenceOps = table{}
