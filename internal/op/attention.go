package op

var attentionOps = table{}
