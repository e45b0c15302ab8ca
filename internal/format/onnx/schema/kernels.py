"""Writes kernels.txt: what ONNX Runtime computes on a CPU, one line per kernel.

    pip install onnx==1.23.2 onnxruntime==1.32.0 && python kernels.py > kernels.txt

The first line is the version. Columns of the others: domain.operator, first and last operator set, element types of each input, of each
output, as in schema.txt. Operators without a kernel that ONNX defines by others are listed with the types of their schema.
"""

import onnxruntime
from onnx import defs
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from generate import NAMES, NEWEST, OLDEST, mask

ANY = "%x" % (2**30 - 1)


def masks(parameters, kernel):
    """The types of each parameter, given those of the kernel by name."""
    out = []
    for p in parameters:
        if p.typeStr in kernel:
            # Containers are of any type: their elements are not told apart here.
            out.append(mask(t for t in kernel[p.typeStr] if not t.startswith("tensor(") or t[7:-1] in NAMES))
        elif "(" in p.typeStr:
            out.append(mask([p.typeStr]))
        else:
            out.append(ANY)
    return ",".join(out) or "-"


history = {}
for s in defs.get_all_schemas_with_history():
    if not s.deprecated and (s.domain or s.since_version <= NEWEST):
        history.setdefault((s.domain, s.name), []).append(s)
known = {}
for s in runtime.get_all_operator_schema():
    known.setdefault((s.domain, s.name), []).append(s)


def replaced(key, version):
    """The last operator set of a version of an operator."""
    later = [s.since_version for s in history.get(key, []) if s.since_version > version]
    return min(later) - 1 if later else NEWEST


lines, covered = set(), {}
for k in runtime.get_all_opkernel_def():
    key, (first, last) = (k.domain, k.op_name), k.version_range
    if last > 1 << 20:  # a kernel without an end is for one version of the operator
        last = replaced(key, first)
    if k.domain not in ("", "com.microsoft", "ai.onnx.ml") or k.domain == "" and (last < OLDEST or first > NEWEST):
        continue
    s = max((s for s in known[key] if s.since_version <= first), key=lambda s: s.since_version)
    covered.setdefault(key, []).append((first, last))
    lines.add(f"{'.'.join(n for n in key if n)} {first} {last} {masks(s.inputs, k.type_constraints)} {masks(s.outputs, k.type_constraints)}")
for key, schemas in history.items():
    for s in schemas:
        first, last = s.since_version, replaced(key, s.since_version)
        # Constants become parameters.
        defined = s.has_function or s.has_context_dependent_function or s.name == "Constant"
        if key[0] == "" and last >= OLDEST and defined and not any(a <= first <= b for a, b in covered.get(key, [])):
            ins, outs = (",".join(mask(p.types) for p in side) or "-" for side in (s.inputs, s.outputs))
            lines.add(f"{s.name} {first} {last} {ins} {outs}")
print(onnxruntime.__version__)
print("\n".join(sorted(lines)))
