"""`make fuzz`: new inputs for every harness in turn, each for so many seconds.

Atheris (coverage-guided; the extra `[fuzz]`) where it is installed, else mutations of the kept inputs. The
last quarter of the time goes to long inputs, which show what takes more than linear time. What Atheris finds
interesting stays in `.fuzz/NAME/seen` for the next run on this machine; an input that breaks an invariant
becomes a file in `.fuzz/NAME`, told with the command that repeats it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT)]

from harness import HARNESSES, Harness, load  # noqa: E402
from mutation import mutated, stretched  # noqa: E402

WORKSHOP = ROOT / ".fuzz"
LONG = 64 * 1024  # octets of a long input
SECONDS_PER_INPUT = 2.0  # of processor time; nothing takes a tenth of it
ENDLESS = 20  # seconds of processor time after which an input is given up
MEMORY = 1024  # MiB
CRASHED = 77  # how libFuzzer ends after a finding


class TooSlow(AssertionError):
    """An input took longer than any input may."""


def run_one(harness: Harness, data: bytes) -> None:
    """Raises what the harness raises, and TooSlow."""
    begun = time.process_time()
    harness.test(data)
    if (spent := time.process_time() - begun) > SECONDS_PER_INPUT:
        raise TooSlow(f"{len(data)} octets took {spent:.1f} seconds")


def run_to_an_end(harness: Harness, data: bytes) -> None:
    """The same, given up after ENDLESS; Atheris has its own way to do that."""
    signal.signal(signal.SIGPROF, _endless)
    signal.setitimer(signal.ITIMER_PROF, ENDLESS)
    try:
        run_one(harness, data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _endless(*_: object) -> None:
    raise TooSlow(f"no end within {ENDLESS} seconds of processor time")


def keep(harness: Harness, data: bytes) -> Path:
    place = WORKSHOP / harness.name
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"crash-{sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def repeat_command(path: Path) -> str:
    return f"{sys.executable} tests/fuzz/fuzz.py --repeat {path.relative_to(ROOT)}"


def shorter(harness: Harness, data: bytes, error: Exception) -> bytes:
    """An input with the same fault, with pieces left out while that is quick."""
    until = time.monotonic() + 10
    size = len(data) // 2
    while size and time.monotonic() < until:
        for start in range(0, len(data), size):
            less = data[:start] + data[start + size :]
            try:
                run_to_an_end(harness, less)
            except Exception as other:
                if place_of(other) == place_of(error):
                    data = less
                    break
            if time.monotonic() > until:
                break
        else:
            size //= 2
    return data


def place_of(error: Exception) -> tuple[str, str, int]:
    """What distinguishes one fault from another."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return type(error).__name__, frame.filename, frame.lineno or 0


def search(harness: Harness, seconds: float, seed: int, make=mutated, longest: int = 0) -> tuple[int, int]:
    """Inputs by mutation for so long; how many there were, and how many different findings."""
    rng = random.Random(seed)
    seeds = harness.seeds
    if make is stretched:
        seen = WORKSHOP / harness.name / "seen"
        seeds += [path.read_bytes() for path in sorted(seen.iterdir())] if seen.is_dir() else []
    resource.setrlimit(resource.RLIMIT_AS, (2 * MEMORY * 2**20,) * 2)
    until = time.monotonic() + seconds
    inputs, known = 0, set()
    while time.monotonic() < until:
        data = make(rng, seeds, harness.words, longest or harness.longest)
        inputs += 1
        try:
            run_to_an_end(harness, data)
        except Exception as error:
            if place_of(error) in known:
                continue
            known.add(place_of(error))
            traceback.print_exc()
            path = keep(harness, shorter(harness, data, error))
            print(f"FOUND {path.relative_to(ROOT)}; again: {repeat_command(path)}", flush=True)
    return inputs, len(known)


def guided(harness: Harness, seconds: int) -> None:
    """Atheris; does not come back."""
    import atheris

    seen = WORKSHOP / harness.name / "seen"
    seen.mkdir(parents=True, exist_ok=True)
    words = WORKSHOP / harness.name / "words"
    lines = ("".join(f"\\x{octet:02x}" for octet in word) for word in harness.words)
    words.write_text("".join(f'"{line}"\n' for line in lines))
    atheris.Setup(
        [
            *(sys.argv[0], f"-max_total_time={seconds}", f"-max_len={harness.longest}", f"-dict={words}"),
            *(f"-rss_limit_mb={MEMORY}", f"-timeout={ENDLESS}", "-print_final_stats=1", "-reload=0"),
            *(f"-artifact_prefix={WORKSHOP / harness.name}/", str(seen), str(HERE / "corpus" / harness.name)),
        ],
        lambda data: run_one(harness, data),
    )
    atheris.Fuzz()


def fuzz(name: str, seconds: int, seed: int) -> bool:
    """One harness in processes of its own. True when nothing was found."""
    by_coverage = importlib.util.find_spec("atheris") is not None
    short = max(1, seconds * 3 // 4)
    text, found, begun = "", False, time.time()
    for phase, share in (("guided" if by_coverage else "mutated", short), ("long", max(1, seconds - short))):
        command = [sys.executable, __file__, "--phase", phase, "--only", name]
        command += ["--seconds", str(share), "--seed", str(seed)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False
        )
        said = done.stdout + done.stderr
        if done.returncode:
            found = True
            print("\n".join(line for line in said.splitlines() if not line.startswith("INFO: "))[-6000:])
            for path in sorted((WORKSHOP / name).glob("[clot]*-*")):
                if path.stat().st_mtime >= begun:
                    print(f"{name}: again: {repeat_command(path)}")
        runs = re.search(r"(?:executed_units|inputs): *(\d+)", said)
        cover = re.findall(r"cov: (\d+)", said)
        text += f", {phase} {int(runs[1]) if runs else 0:,}" + (f" (coverage {cover[-1]})" if cover else "")
    print(f"{name:24} {'FOUND SOMETHING' if found else 'nothing found'}{text}", flush=True)
    return not found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=30, help="for each harness")
    parser.add_argument("--only", default="", help="harnesses, separated by commas")
    parser.add_argument("--repeat", type=Path, help="run one input again; its directory names the harness")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--list", action="store_true", help="the harnesses and what they assert")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.phase == "guided":
        import atheris

        with atheris.instrument_imports(include=["twisted_mta"]):
            load(asked.only)
    else:
        load(asked.only if asked.phase else "")
    names = [name for name in asked.only.split(",") if name] or list(HARNESSES)
    if unknown := [name for name in names if name not in HARNESSES]:
        parser.error(f"no harness {', '.join(unknown)}; there are {', '.join(HARNESSES)}")
    if asked.list:
        for name in names:
            print(f"{name:24} {' '.join((HARNESSES[name].test.__doc__ or '').split())}")
        return 0
    if asked.repeat:
        run_one(HARNESSES[asked.only or asked.repeat.resolve().parent.name], asked.repeat.read_bytes())
        print("It holds.")
        return 0
    if asked.phase == "guided":
        guided(HARNESSES[names[0]], asked.seconds)
    elif asked.phase:
        long = asked.phase == "long"
        make, longest = (stretched, LONG) if long else (mutated, 0)
        inputs, findings = search(HARNESSES[names[0]], asked.seconds, asked.seed, make, longest)
        print(f"inputs: {inputs}")
        return CRASHED if findings else 0
    engine = "Atheris" if importlib.util.find_spec("atheris") else "mutations (Atheris is not installed)"
    if not asked.phase:
        harnesses = "harness" if len(names) == 1 else "harnesses"
        seconds = "second" if asked.seconds == 1 else "seconds"
        print(
            f"{len(names)} {harnesses}, {asked.seconds} {seconds} each, by {engine}; seed {asked.seed}",
            flush=True,
        )
    sound = [fuzz(name, asked.seconds, asked.seed) for name in names]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
