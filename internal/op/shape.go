package op

var shapeOps = table{}
