package example

// Shapes names the classes of [Images] in label order.
var Shapes = []string{
	disk: "disk", ring: "ring", crescent: "crescent", halfDisk: "half disk", triangle: "triangle",
	square: "square", hexagon: "hexagon", star: "star", cross: "cross", arrow: "arrow",
}

const (
	disk = iota
	ring
	crescent
	halfDisk
	triangle
	square
	hexagon
	star
	cross
	arrow
)

// outlines lists the corners of the shapes with straight edges, in units of 1/[unit].
var outlines = [...][][2]int{
	triangle: {{0, 1024}, {887, -512}, {-887, -512}},
	square:   {{724, 724}, {724, -724}, {-724, -724}, {-724, 724}},
	hexagon:  {{1024, 0}, {512, 887}, {-512, 887}, {-1024, 0}, {-512, -887}, {512, -887}},
	star: {
		{0, 1024},
		{230, 317},
		{974, 316},
		{372, -121},
		{602, -828},
		{0, -391},
		{-602, -828},
		{-372, -121},
		{-974, 316},
		{-230, 317},
	},
	cross: {
		{300, 960},
		{300, 300},
		{960, 300},
		{960, -300},
		{300, -300},
		{300, -960},
		{-300, -960},
		{-300, -300},
		{-960, -300},
		{-960, 300},
		{-300, 300},
		{-300, 960},
	},
	arrow: {{1024, 0}, {200, 740}, {200, 280}, {-920, 280}, {-920, -280}, {200, -280}, {200, -740}},
}

// contains reports whether the point (u, v) lies in the shape with the given label.
func contains(shape, u, v int) bool {
	switch shape {
	case disk:
		return inDisk(u, v, 960)
	case ring:
		return inDisk(u, v, 1000) && !inDisk(u, v, 560)
	case crescent:
		return inDisk(u, v, 1000) && !inDisk(u-440, v, 800)
	case halfDisk:
		return inDisk(u, v+400, 1000) && v > -400
	}
	return inOutline(outlines[shape], u, v)
}

func inDisk(u, v, radius int) bool { return u*u+v*v < radius*radius }

// inOutline counts the edges that a ray from the point to the right crosses: an odd number means inside.
func inOutline(corners [][2]int, u, v int) bool {
	inside := false
	a := corners[len(corners)-1]
	for _, b := range corners {
		if (a[1] > v) != (b[1] > v) {
			// u < a.u + (v-a.v)·(b.u-a.u)/(b.v-a.v), multiplied by the difference of the heights.
			left, right := (u-a[0])*(b[1]-a[1]), (v-a[1])*(b[0]-a[0])
			if b[1] > a[1] == (left < right) {
				inside = !inside
			}
		}
		a = b
	}
	return inside
}
