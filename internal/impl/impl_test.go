package impl

import "testing"

func TestCapSwitchesRegistered(t *testing.T) {
	var two, five bool
	Register("testKernel", AVX2, &two)
	Register("testKernel", AVX512, &five)
	restore := Cap("AVX2")
	if five {
		t.Error("avx512 is on under a cap of avx2")
	}
	if two != Has(AVX2) {
		t.Errorf("avx2 on = %v, CPU has it = %v", two, Has(AVX2))
	}
	if got := Current(); Has(AVX2) && got != AVX2 {
		t.Errorf("Current() = %q under a cap of avx2", got)
	}
	restore()
	defer Cap(Generic)()
	if two || five {
		t.Error("something is on under a cap of generic")
	}
	if got := Caps(); len(got) != 1 || got[0] != Generic {
		t.Errorf("Caps() = %v under a cap of generic", got)
	}
	n := 0
	for _, e := range List() {
		if e.Kernel == "testKernel" {
			n++
			if e.Enabled || e.Available != Has(e.ISA) {
				t.Errorf("List: %+v", e)
			}
		}
	}
	if n != 2 {
		t.Errorf("List has %d of 2 variants", n)
	}
}

func TestRegisterRejects(t *testing.T) {
	var b bool
	Register("twice", AVX2, &b)
	for name, f := range map[string]func(){
		"twice":   func() { Register("twice", AVX2, &b) },
		"unknown": func() { Register("other", "mmx", &b) },
		"cap":     func() { Cap("mmx") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
