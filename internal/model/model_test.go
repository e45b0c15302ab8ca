package model

import (
	"errors"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
)

type closer struct {
	name string
	log  *[]string
	err  error
}

func (c closer) Close() error {
	*c.log = append(*c.log, c.name)
	return c.err
}

func TestCloseReleasesEachFileOnceInReverse(t *testing.T) {
	var log []string
	boom := errors.New("boom")
	m := &Model{Graph: &graph.Graph{Name: "a"}, Producer: "p"}
	m.Own(closer{"model", &log, boom})
	m.Own(closer{"weights", &log, nil})
	c := m.With(&graph.Graph{Name: "b"})
	if c.Producer != "p" || c.Graph.Name != "b" || m.Graph.Name != "a" {
		t.Errorf("With: %+v", c)
	}
	if err := c.Close(); err != nil || len(log) != 0 {
		t.Errorf("a derived model must not close the files: %v %v", err, log)
	}
	if err := m.Close(); !errors.Is(err, boom) {
		t.Errorf("Close: %v", err)
	}
	if err := m.Close(); err != nil || len(log) != 2 || log[0] != "weights" {
		t.Errorf("closed %v, second error %v", log, err)
	}
}
