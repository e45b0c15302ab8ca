package neuroquant

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/impl"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
)

// KeepWork makes methods that solve layer after layer (gptq, awq) keep each finished layer on the disk, in a folder beside the output folder
// out. [Manager.Quantize] goes on from what an earlier run with the same model, settings and samples has finished there, and ends with the
// same bytes; other work is thrown away, with a message. [Manager.Save] removes the folder when all is written.
func (m *Manager) KeepWork(out string) { m.workBeside = out }

// WorkFolder returns the folder in which the last [Manager.Quantize] has left work to go on with; empty: there is none.
func (m *Manager) WorkFolder() string { return m.workFolder }

// openWork opens the work of the plan; nil where the method has none or nothing asked for it.
func (m *Manager) openWork(ctx context.Context, in inputRecord, samples quantize.Samples, p *quantize.Plan) (*quantize.Work, error) {
	if m.workBeside == "" || !solvesLayers(m.config.Method) {
		return nil, nil
	}
	settings := m.resolved
	settings.Format = m.config.Format
	settings.QuantizedModelPath, settings.AnalysisReportPath, settings.SaveQuantizedModel = "", "", true
	settings.MaxMemory = "" // which changes no byte
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	digest, err := digestOf(ctx, samples)
	if err != nil {
		return nil, err
	}
	dir := outfile.WorkFolder(m.workBeside)
	m.workFolder = dir
	w, err := quantize.OpenWork(dir, quantize.WorkKey{
		Version: Version(), Arithmetic: runtime.GOARCH + " " + impl.Current(), Model: in.XXH128, Settings: string(text), Calibration: digest,
	})
	if err != nil {
		return nil, err
	}
	log := progress.From(ctx).Log
	if w.Dropped != "" {
		log(fmt.Sprintf("quantize: %s held work of an earlier run %s; starting over", dir, w.Dropped))
	}
	if n := w.Finished(); n > 0 {
		log(fmt.Sprintf("quantize: an earlier run has finished %d of %d layers (%s); going on from there", n, p.Quantized(), dir))
	}
	return w, nil
}

// parseBytes reads a number of bytes such as 4GiB, 512 MB or 1000000; 0 for an empty text.
func parseBytes(text string) (int, error) {
	number := strings.TrimSpace(text)
	if number == "" {
		return 0, nil
	}
	unit := 1.0
	for _, u := range []struct {
		name  string
		bytes float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}} {
		if rest := len(number) - len(u.name); rest >= 0 && strings.EqualFold(number[rest:], u.name) {
			number, unit = strings.TrimSpace(number[:rest]), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*unit >= 1) || n*unit >= 1<<62 {
		return 0, fmt.Errorf("want a number of bytes such as 4GiB or 512MB, got %q", text)
	}
	return int(n * unit), nil
}

// solvesLayers reports whether a method works layer after layer with calibration samples.
func solvesLayers(method string) bool { return method == "gptq" || method == "awq" }

// digestOf is the hash of calibration samples.
func digestOf(ctx context.Context, samples quantize.Samples) (string, error) {
	h := sha256.New()
	if samples.All == nil {
		return "", nil
	}
	for call, err := range samples.All(ctx) {
		if err != nil {
			return "", err
		}
		for _, t := range call.In {
			if t == nil {
				continue
			}
			_ = binary.Write(h, binary.LittleEndian, int64(t.DType))
			for _, n := range append([]int{len(t.Shape)}, t.Shape...) {
				_ = binary.Write(h, binary.LittleEndian, int64(n))
			}
			_, _ = h.Write(t.Bytes())
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
