// Package e2e opens the HTML report in a browser. It is a module of its own so that the product does not depend on what drives
// the browser.
package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	logdomain "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "folder to keep the screenshots in")

// browser finds Chromium. Without one the test is skipped, but not where everything must be checked.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no Chromium on this machine: install it, or name it in CHROMIUM"
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// example runs the command-line tool's example and returns the page that it wrote.
func example(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tool := filepath.Join(dir, "neuroquant")
	build := exec.Command("go", "build", "-o", tool, "./cmd/neuroquant")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	for _, c := range []*exec.Cmd{build, exec.Command(tool, "example", "--samples", "40", "--out", filepath.Join(dir, "example"))} {
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
	}
	pages, err := filepath.Glob(filepath.Join(dir, "example", "*", "report.html"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("the example wrote no page: %v", err)
	}
	i := slices.IndexFunc(pages, func(p string) bool { return strings.Contains(p, "grammars-dynamic-qint8") })
	return pages[max(i, 0)]
}

// watch collects what a page must not do: requests beyond itself, and anything said on the console.
type watch struct {
	mu       sync.Mutex
	requests []string
	said     []string
}

func (w *watch) add(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		w.requests = append(w.requests, ev.Request.URL)
	case *network.EventWebSocketCreated:
		w.requests = append(w.requests, ev.URL)
	case *runtime.EventConsoleAPICalled:
		w.said = append(w.said, "console."+string(ev.Type))
	case *runtime.EventExceptionThrown:
		w.said = append(w.said, "exception: "+ev.ExceptionDetails.Text)
	case *logdomain.EventEntryAdded:
		w.said = append(w.said, string(ev.Entry.Level)+": "+ev.Entry.Text)
	}
}

// visit opens a page in a fresh browser without network, in a colour scheme.
func visit(t *testing.T, path, page, scheme string) (context.Context, *watch) {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1200, 1600),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"), chromedp.Flag("proxy-server", "127.0.0.1:9"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses root
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	w := &watch{}
	if err := chromedp.Listen(ctx, w.add); err != nil {
		t.Fatal(err)
	}
	limited, cancel := context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	err := chromedp.Do(limited, call(network.Enable, network.EnableParams{}), call(logdomain.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{}),
		call(emulation.SetEmulatedMedia, media), chromedp.Navigate("file://"+page))
	if err != nil {
		t.Fatal(err)
	}
	return limited, w
}

func call[P any](command cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, command, params)
		return err
	})
}

func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func TestReport(t *testing.T) {
	path := browser(t)
	page := example(t)
	brightness := map[string]float64{}
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			ctx, w := visit(t, path, page, scheme)
			if title := evaluate[string](t, ctx, `document.title`); !strings.Contains(title, "quantized") {
				t.Errorf("title %q", title)
			}
			// The chart is a canvas with marks on it, in the page's colours.
			if n := evaluate[int](t, ctx, `document.querySelectorAll("#chart canvas").length`); n != 1 {
				t.Fatalf("%d canvases", n)
			}
			drawn := evaluate[[]int](t, ctx, `(() => {
				const c = document.querySelector("#chart canvas"), p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
				const colors = new Set(); let n = 0;
				for (let i = 0; i < p.length; i += 4) if (p[i+3] > 0) { n++; colors.add(p[i] << 16 | p[i+1] << 8 | p[i+2]); }
				return [c.width, c.height, n, colors.size];
			})()`)
			if drawn[0] < 600 || drawn[1] < 250 || drawn[2] < 2000 || drawn[3] < 4 {
				t.Errorf("the chart is %dx%d with %d pixels of %d colours", drawn[0], drawn[1], drawn[2], drawn[3])
			}
			// The pictures that need no script: sizes and times are shown, layers take their turn in print.
			figures := evaluate[[]bool](t, ctx, `Array.from(document.querySelectorAll("figure svg"), s => { const r = s.getBoundingClientRect(); return r.width > 400 && r.height > 40 && s.querySelectorAll("rect").length > 1; })`)
			if !slices.Equal(figures, []bool{true, true, false}) {
				t.Errorf("pictures shown: %v", figures)
			}
			if err := chromedp.Do(ctx, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})); err != nil {
				t.Fatal(err)
			}
			if printed := evaluate[[]string](t, ctx, `[getComputedStyle(document.getElementById("static")).display, getComputedStyle(document.getElementById("chart")).display]`); !slices.Equal(printed, []string{"block", "none"}) {
				t.Errorf("in print the static picture and the chart are %v", printed)
			}
			if err := chromedp.Do(ctx, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})); err != nil {
				t.Fatal(err)
			}
			sorting(t, ctx)
			// Nothing is wider than the window, on a telephone either.
			for _, width := range []int64{1200, 400} {
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 1600)); err != nil {
					t.Fatal(err)
				}
				evaluate[any](t, ctx, `new Promise(done => setTimeout(() => requestAnimationFrame(() => done(0)), 100))`) // the chart follows
				if n := evaluate[int](t, ctx, `document.querySelector("#chart canvas").clientWidth - document.getElementById("chart").clientWidth`); n != 0 {
					t.Errorf("at %d pixels the chart is %d pixels wider than its box", width, n)
				}
				if over := evaluate[int](t, ctx, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
					t.Errorf("at %d pixels the page is %d too wide", width, over)
				}
				shot := screenshot(t, ctx, scheme, width)
				if width == 1200 {
					brightness[scheme] = mean(shot)
				}
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.requests) != 1 || !strings.HasPrefix(w.requests[0], "file://") {
				t.Errorf("requests %q, want the page alone", w.requests)
			}
			if len(w.said) > 0 {
				t.Errorf("on the console: %q", w.said)
			}
		})
	}
	if brightness["light"] < 200 || brightness["dark"] > 80 {
		t.Errorf("mean brightness %v", brightness)
	}
}

// sorting clicks heads of the table of layers and reads the column.
func sorting(t *testing.T, ctx context.Context) {
	t.Helper()
	click := func(head int, order string) (state string, column []string, ordered bool) {
		r := evaluate[struct {
			State   string   `json:"state"`
			Column  []string `json:"column"`
			Ordered bool     `json:"ordered"`
		}](t, ctx, fmt.Sprintf(`(() => {
			const table = document.querySelectorAll("table.sortable")[0], head = table.querySelectorAll("th")[%d];
			head.click();
			const column = Array.from(table.tBodies[0].rows, r => r.cells[%[1]d].textContent.trim()), order = %s;
			return {state: head.getAttribute("aria-sort"), column, ordered: column.every((v, i) => i == 0 || order(column[i-1], v) <= 0)};
		})()`, head, order))
		return r.State, r.Column, r.Ordered
	}
	// Numbers as numbers: 100.5 after 29.9, and "exact", an infinite ratio, last.
	const number = `(a, b) => { const v = s => s == "exact" ? Infinity : parseFloat(s); return v(a) == v(b) ? 0 : v(a) - v(b) }`
	for _, test := range []struct {
		head         int
		order, state string
	}{
		{3, number, "ascending"},
		{3, `(b, a) => a - b`, "descending"},
		{2, number, "ascending"},
		{0, `(a, b) => a.localeCompare(b)`, "ascending"},
	} {
		if state, column, ordered := click(test.head, test.order); state != test.state || !ordered || len(column) < 10 {
			t.Errorf("column %d is %s, want %s: %v", test.head, state, test.state, column)
		}
	}
}

func screenshot(t *testing.T, ctx context.Context, scheme string, width int64) image.Image {
	t.Helper()
	b, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if *screenshots != "" {
		if err := os.MkdirAll(*screenshots, 0o755); err != nil {
			t.Fatal(err)
		}
		name := map[int64]string{1200: "report-" + scheme + ".png", 400: "report-" + scheme + "-narrow.png"}[width]
		if err := os.WriteFile(filepath.Join(*screenshots, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// mean returns the mean brightness of a picture, 0 to 255.
func mean(m image.Image) float64 {
	sum, n := 0.0, 0
	r := m.Bounds()
	for y := r.Min.Y; y < r.Max.Y; y += 7 {
		for x := r.Min.X; x < r.Max.X; x += 7 {
			sum += float64(color.GrayModel.Convert(m.At(x, y)).(color.Gray).Y)
			n++
		}
	}
	return sum / float64(n)
}

// The watch sees what it is there to see: a page that asks for things and complains.
func TestWatchSees(t *testing.T) {
	path := browser(t)
	page := filepath.Join(t.TempDir(), "bad.html")
	if err := os.WriteFile(page, []byte(`<img src="http://example.com/x.png"><script>console.error("no"); throw new Error("oh")</script>`), 0o644); err != nil {
		t.Fatal(err)
	}
	_, w := visit(t, path, page, "light")
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.requests, "http://example.com/x.png") || len(w.said) < 2 {
		t.Errorf("saw requests %q and on the console %q", w.requests, w.said)
	}
}
