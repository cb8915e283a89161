#!/usr/bin/env python3
"""kill_quantize_test.py STRATA [KILLS] [MODEL]: strata quantize killed with SIGKILL at a random moment, KILLS times (default 40).

The target is an older model before each run.  Afterwards it is that file byte for byte, or the whole new one; what else lies in
the folder is one partial file at most, which the next run takes over and the last one leaves none of."""
import hashlib, os, random, shutil, signal, subprocess, sys, tempfile, time

STRATA, KILLS = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40
MASTER = sys.argv[3] if len(sys.argv) > 3 else "tests/data/strata-demo-draft-bf16.gguf"


def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


def quantize(source, target, form):
    return subprocess.Popen([STRATA, "quantize", source, target, form, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    with tempfile.TemporaryDirectory() as folder:
        old, target, source = (os.path.join(folder, n) for n in ("old.gguf", "model.gguf", "master.gguf"))
        shutil.copy(MASTER, source)
        assert quantize(source, old, "Q4_0").wait() == 0
        seconds = []
        for _ in range(5):
            began = time.monotonic()
            assert quantize(source, target, "Q8_0").wait() == 0
            seconds.append(time.monotonic() - began)
        was, will = digest(old), digest(target)
        assert was != will
        whole, counts = sorted(seconds)[2], {"old": 0, "new": 0, "partial": 0, "ended": 0}
        draw = random.Random(1)
        for i in range(KILLS):
            shutil.copy(old, target)
            p = quantize(source, target, "Q8_0")
            # The end, where the file is renamed, is met as often as the rest.
            time.sleep(whole * (draw.uniform(0.8, 1.1) if i % 2 else draw.uniform(0, 1)))
            p.send_signal(signal.SIGKILL)
            counts["ended"] += p.wait() != -signal.SIGKILL
            now, others = digest(target), set(os.listdir(folder)) - {"old.gguf", "model.gguf", "master.gguf"}
            assert now in (was, will), f"kill {i}: the target is neither the old file nor the new one"
            assert others <= {"model.gguf.part"}, f"kill {i}: left behind: {others}"
            counts["old" if now == was else "new"] += 1
            counts["partial"] += bool(others)
        assert quantize(source, target, "Q8_0").wait() == 0
        assert digest(target) == will and set(os.listdir(folder)) == {"old.gguf", "model.gguf", "master.gguf"}
        print(f"{KILLS} kills in {whole * 1000:.0f} ms each: {counts['old']} times the old file, {counts['new']} times the new one "
              f"({counts['ended']} had ended before), never another; {counts['partial']} times a partial file, taken over by the next run")
        assert counts["old"] and (counts["partial"] or KILLS < 40)


main()
