package op

var elementwiseOps = table{}
