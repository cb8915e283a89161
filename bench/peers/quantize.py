#!/usr/bin/env python3
"""quantize.py BUILD MASTER.gguf [FORMAT..]: `strata quantize` and llama.cpp's quantiser (peer_llama) on the same master.

For each format: keys and types that differ (none may), how many tensors have the same bytes, and for each number format
that was encoded the relative RMS errors of both against the master and their ratio (below 1: ours is nearer).
BUILD is a build folder with peer_llama (bench/peers/setup.sh).  Exit status 1 when keys, shapes or types differ."""
import array
import math
import os
import struct
import subprocess
import sys
import tempfile

SCALAR = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of each kind of number
BLOCK = {0: (1, 4), 1: (1, 2), 2: (32, 18), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144), 13: (256, 176), 14: (256, 210),
         30: (1, 2)}
NAME = {0: "F32", 1: "F16", 2: "Q4_0", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 30: "BF16"}


class File:
    """keys: {name: (type, raw value)}; tensors: {name: (shape, type, bytes)}"""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.b = f.read()
        n_tensors, n_keys = struct.unpack_from("<QQ", self.b, 8)
        self.at, self.keys, places, self.tensors = 24, {}, [], {}
        for _ in range(n_keys):
            name = self.string()
            kind = self.number("I")
            self.keys[name] = (kind, self.value(kind))
        for _ in range(n_tensors):
            name, dims = self.string(), self.number("I")
            shape = [self.number("Q") for _ in range(dims)]
            places.append((name, shape, self.number("I"), self.number("Q")))
        align = struct.unpack("<I", self.keys["general.alignment"][1])[0] if "general.alignment" in self.keys else 32
        data = (self.at + align - 1) // align * align
        for name, shape, dtype, offset in places:
            n = math.prod(shape) // BLOCK[dtype][0] * BLOCK[dtype][1]
            self.tensors[name] = (shape, dtype, self.b[data + offset:data + offset + n])

    def number(self, code):
        v = struct.unpack_from("<" + code, self.b, self.at)[0]
        self.at += struct.calcsize(code)
        return v

    def raw(self, n):
        self.at += n
        return self.b[self.at - n:self.at]

    def string(self):
        return self.raw(self.number("Q")).decode("utf-8", "surrogateescape")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind != 9:
            return self.raw(SCALAR[kind])
        item, n = self.number("I"), self.number("Q")
        return item, [self.string() for _ in range(n)] if item == 8 else self.raw(n * SCALAR[item])


def errors(master, ours, theirs, types):
    """[format: (squares, squared error of ours, of theirs)]; all three files in F32."""
    total = {}
    for name, (_, _, raw) in master.tensors.items():
        x, a, b = (array.array("f", r) for r in (raw, ours.tensors[name][2], theirs.tensors[name][2]))
        sums = total.setdefault(types[name], [0, 0, 0])
        sums[0] += sum(v * v for v in x)
        sums[1] += sum((v - w) * (v - w) for v, w in zip(x, a))
        sums[2] += sum((v - w) * (v - w) for v, w in zip(x, b))
    return total


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    strata, peer = sys.argv[1] + "/strata", sys.argv[1] + "/peer_llama"
    source, differ = sys.argv[2], 0
    with tempfile.TemporaryDirectory() as d:
        def quantise(path, out, form):
            subprocess.run([strata, "quantize", path, f"{d}/{out}", form], check=True, stderr=subprocess.DEVNULL)
            return File(f"{d}/{out}")
        master = quantise(source, "master", "F32")
        for form in sys.argv[3:] or ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0"]:
            ours = quantise(source, "ours", form)
            subprocess.run([peer, "quantize", "--model", source, "--to", form, f"{d}/theirs"], check=True, stdout=subprocess.DEVNULL)
            theirs = File(f"{d}/theirs")
            keys = [k for k in sorted({*ours.keys, *theirs.keys}) if ours.keys.get(k) != theirs.keys.get(k)]
            types = [k for k in sorted({*ours.tensors, *theirs.tensors}) if ours.tensors.get(k, [])[:2] != theirs.tensors.get(k, [])[:2]]
            same = sum(t[2] == theirs.tensors[k][2] for k, t in ours.tensors.items() if k in theirs.tensors)
            differ += len(keys) + len(types)
            print(f"{form}: {len(keys)} keys and {len(types)} tensors differ in kind; {same} of {len(ours.tensors)} tensors have the same bytes",
                  *keys, *types[:4])
            if same == len(ours.tensors) or types:
                continue
            sums = errors(master, quantise(f"{d}/ours", "a", "F32"), quantise(f"{d}/theirs", "b", "F32"),
                          {k: t[1] for k, t in ours.tensors.items()})
            for dtype, (x, a, b) in sorted(sums.items()):
                if b > 0:
                    print(f"  {NAME[dtype]}: relative error {math.sqrt(a / x):.6f}, llama.cpp {math.sqrt(b / x):.6f}, ratio {math.sqrt(a / b):.4f}")
    sys.exit(1 if differ else 0)


main()
