package quantize

// StaticForm says how method static computes operators of a kind, where their inputs and attributes allow it.
func StaticForm(kind string) string {
	switch kind {
	case "Conv", "Gemm", "MatMul":
		return "integer product"
	case "Gather":
		return "moves codes, looks up codes"
	case "Resize":
		return "moves codes (nearest), table of codes"
	}
	switch kinds[kind] {
	case pointy:
		return "on codes"
	case tabled:
		return "table of codes"
	case carrying:
		return "moves codes"
	}
	return ""
}

// DynamicForm reports whether method dynamic quantizes the weights of operators of a kind.
func DynamicForm(kind string) bool {
	_, ok := dynamicLayers[kind]
	return ok
}
