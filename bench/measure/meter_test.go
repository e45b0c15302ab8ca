package measure

import (
	"os"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	m := &Meter{}
	m.Start()
	if s := m.Stop(); s != -1 {
		t.Errorf("share %v of a measurement too short to tell one", s)
	}
	m.Start()
	time.Sleep(2 * shortest)
	s := m.Stop()
	if _, err := os.Stat("/proc/stat"); err != nil {
		if s != -1 {
			t.Errorf("share %v without /proc", s)
		}
		return
	}
	if s < 0 || s > 1 {
		t.Errorf("share %v", s)
	}
}
