package main

import (
	"log/slog"

	"github.com/neurotrain/neuroquant/internal/progress"
)

// newReporter chooses how progress and log messages are shown, both on stderr.
func newReporter(a *app) (progress.Reporter, *slog.Logger) {
	level := slog.LevelInfo
	if a.verbose {
		level = slog.LevelDebug
	}
	kind := "auto"
	if a.quiet {
		kind = "none"
	}
	r, err := progress.New(progress.Options{Kind: kind, Output: a.stderr})
	if err != nil {
		panic(err) // the kinds above exist
	}
	return r, progress.NewLogger(r, progress.LogOptions{Level: level, Color: progress.Color(a.stderr, nil)})
}
