package main

import (
	"context"
	"log/slog"

	"github.com/neurotrain/neuroquant/internal/progress"
)

// newReporter chooses how progress and log messages are shown, both on stderr.
func newReporter(a *app) (progress.Reporter, *slog.Logger) {
	level := slog.LevelInfo
	if a.verbose {
		level = slog.LevelDebug
	}
	return progress.From(context.Background()), slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}
