package op

var treeOps = table{}
