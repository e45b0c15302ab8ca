package main

import (
	"fmt"

	"github.com/neurotrain/neuroquant/bench/measure"
)

// result is one comparison. Times are seconds: of a token, or to the first one.
type result struct {
	Model   string  `json:"model"`
	Kind    string  `json:"type"`
	Threads int     `json:"threads"`
	Phase   string  `json:"phase"`
	Peer    float64 `json:"peer_s,omitempty"`
	Ours    float64 `json:"ours_s"`
	Ratio   float64 `json:"ratio,omitempty"` // peer over ours
	Limit   float64 `json:"limit"`
	// Measured in the same minute: bytes a second, and operations a second.
	Bandwidth float64 `json:"bandwidth,omitempty"`
	PeakInt8  float64 `json:"peak_int8,omitempty"`
	PeakBF16  float64 `json:"peak_bf16,omitempty"`
	// Shares of that: of the bandwidth in decode, counting every weight once, or of the peak of the products of the type in prefill.
	PeerShare  float64 `json:"peer_share,omitempty"`
	OursShare  float64 `json:"ours_share,omitempty"`
	ShareLimit float64 `json:"share_limit,omitempty"`
	Others     float64 `json:"others"` // share of the machine that other processes took meanwhile; negative where it cannot be told
	Pass       bool    `json:"pass"`
}

// conclude computes shares and whether limits are kept. bytes is what one token reads.
func (r *result) conclude(n *network, k *kindOf, bytes int64) {
	per := func(amount, seconds, limit float64) float64 {
		if seconds == 0 || limit == 0 {
			return 0
		}
		return amount / seconds / limit
	}
	switch r.Phase {
	case "decode":
		r.Limit, r.ShareLimit = decodeBar, n.share
		r.PeerShare, r.OursShare = per(float64(bytes), r.Peer, r.Bandwidth), per(float64(bytes), r.Ours, r.Bandwidth)
	case "prefill":
		r.Limit = k.prefill
		peak := r.PeakBF16
		if k.int8 {
			peak = r.PeakInt8
		}
		ops := 2 * float64(n.shape.Matrices())
		r.PeerShare, r.OursShare = per(ops, r.Peer, peak), per(ops, r.Ours, peak)
	default:
		r.Limit = firstBar
	}
	r.Pass = (r.Peer == 0 || r.Ratio >= r.Limit) && r.OursShare >= r.ShareLimit
}

// summary is everything that one run of the benchmark found.
type summary struct {
	CPU     string   `json:"cpu"`
	CPUs    int      `json:"cpus"`
	Peer    string   `json:"peer,omitempty"`
	Results []result `json:"results"`

	Quantized []quantized `json:"quantized,omitempty"`
}

func (s *summary) String() string {
	peer := ""
	if s.Peer != "" {
		peer = "; against " + s.Peer
	}
	return fmt.Sprintf("%s, %d processors%s", s.CPU, s.CPUs, peer)
}

// speed words a time as tokens a second, or as it is.
func (r *result) speed(seconds float64) string {
	switch {
	case seconds == 0:
		return "-"
	case r.Phase == "first token":
		return measure.Milliseconds(seconds*1e3) + " ms"
	}
	return fmt.Sprintf("%.1f/s", 1/seconds)
}

func (r *result) String() string {
	return fmt.Sprintf("%s %s threads %d %s: peer %s, ours %s, %s (share %s, others %s)", r.Model, r.Kind, r.Threads, r.Phase,
		r.speed(r.Peer), r.speed(r.Ours), measure.Times(r.Ratio), measure.Percent(r.OursShare), measure.Percent(r.Others))
}

func (s *summary) grids() []measure.Grid {
	if s.Quantized != nil {
		return []measure.Grid{quantizeGrid(s.Quantized)}
	}
	g := measure.Grid{Title: "Tokens", Header: []string{
		"model", "type", "threads", "phase", "peer", "ours", "ratio", "limit", "bandwidth or peak", "peer share", "ours share", "limit", "", "others",
	}}
	for _, r := range s.Results {
		most := "-"
		switch {
		case r.Bandwidth > 0:
			most = fmt.Sprintf("%.1f GB/s", r.Bandwidth/1e9)
		case r.PeakInt8 > 0:
			most = fmt.Sprintf("%.0f int8, %.0f bf16 GOP/s", r.PeakInt8/1e9, r.PeakBF16/1e9)
		}
		share := func(v float64) string {
			if v == 0 {
				return "-"
			}
			return measure.Percent(v)
		}
		g.Rows = append(g.Rows, []string{
			r.Model, r.Kind, fmt.Sprint(r.Threads), r.Phase, r.speed(r.Peer), r.speed(r.Ours), measure.Times(r.Ratio), measure.Times(r.Limit),
			most, share(r.PeerShare), share(r.OursShare), share(r.ShareLimit), measure.Verdict(r.Pass), measure.Percent(r.Others),
		})
	}
	return []measure.Grid{g}
}
