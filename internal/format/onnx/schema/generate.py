"""Writes schema.txt: what each ONNX operator takes, one line per version.

    pip install onnx==1.23.2 && python generate.py > schema.txt

Columns: domain.operator, version, least and most inputs, least and most outputs, attributes, element types of each input, of each output.
Element types are hexadecimal masks of tensor.DType values; bits 27 to 29 stand for sequence, optional and map. Versions that operator set 13
replaced are left out.
"""

from onnx import defs

NAMES = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9, "float16": 10,
    "double": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15, "bfloat16": 16, "float8e4m3fn": 17,
    "float8e4m3fnuz": 18, "float8e5m2": 19, "float8e5m2fnuz": 20, "uint4": 21, "int4": 22, "float4e2m1": 23, "float8e8m0": 24,
    "uint2": 25, "int2": 26,
}
OLDEST, NEWEST = 13, 27


def mask(types):
    m = 0
    for t in types:
        if t.startswith("tensor("):
            m |= 1 << NAMES[t[7:-1]]
        elif t.startswith("seq("):
            m |= 1 << 27
        elif t.startswith("optional("):
            m |= 1 << 28
        else:
            m |= 1 << 29
    return "%x" % m


def main():
    versions = {}
    for s in defs.get_all_schemas_with_history():
        if not s.deprecated:
            versions.setdefault((s.domain, s.name), []).append(s)
    for key in sorted(versions):
        history = sorted(versions[key], key=lambda s: s.since_version)
        if key[0] == "":
            history = [s for s in history if s.since_version <= NEWEST]
            while len(history) > 1 and history[1].since_version <= OLDEST:
                history.pop(0)
        for s in history:
            # An unbounded count is printed as -1.
            most = [-1 if n > 1 << 20 else n for n in (s.max_input, s.max_output)]
            print(
                ".".join(k for k in key if k), s.since_version, s.min_input, most[0], s.min_output, most[1],
                ",".join(sorted(s.attributes)) or "-",
                ",".join(mask(i.types) for i in s.inputs) or "-",
                ",".join(mask(o.types) for o in s.outputs) or "-",
            )


if __name__ == "__main__":
    main()
