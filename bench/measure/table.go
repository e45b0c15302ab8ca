package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
)

// Grid is a table: a header and rows of cells.
type Grid struct {
	Title  string
	Header []string
	Rows   [][]string
}

// Text writes a heading and tables with aligned columns.
func Text(w io.Writer, heading string, grids []Grid) error {
	var b strings.Builder
	b.WriteString(heading + "\n")
	for _, g := range grids {
		fmt.Fprintf(&b, "\n%s\n", g.Title)
		width := make([]int, len(g.Header))
		all := append([][]string{g.Header}, g.Rows...)
		for _, row := range all {
			for i, cell := range row {
				width[i] = max(width[i], len(cell))
			}
		}
		for _, row := range all {
			var line strings.Builder
			for i, cell := range row {
				fmt.Fprintf(&line, "%-*s  ", width[i], cell)
			}
			b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown writes the same as tables of Markdown.
func Markdown(w io.Writer, heading string, grids []Grid) error {
	var b strings.Builder
	b.WriteString(heading + "\n")
	for _, g := range grids {
		fmt.Fprintf(&b, "\n### %s\n\n| %s |\n|%s\n", g.Title, strings.Join(g.Header, " | "), strings.Repeat(" --- |", len(g.Header)))
		for _, row := range g.Rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes a value with indentation.
func JSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Milliseconds words a time of so many.
func Milliseconds(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// Times words a ratio.
func Times(v float64) string { return fmt.Sprintf("%.2fx", v) }

// Percent words a share; a dash where it is not known.
func Percent(v float64) string {
	if v < 0 || math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*v)
}

// MiB words a number of bytes.
func MiB(v int64) string { return fmt.Sprintf("%.1f MiB", float64(v)/(1<<20)) }

// Verdict words whether a limit is kept.
func Verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "MISSED"
}
