"""What another process costs: its CPU time and its memory, and why it ended if it failed."""

import subprocess
import sys


def measure(arguments: list[str]) -> tuple[float, float, str]:
    """(CPU seconds, peak MiB, standard output) of one process, started through a shell of its own."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024); sys.stdout.flush();"
        "sys.stdout.buffer.write(done.stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    first, _, rest = done.stdout.partition("\n")
    seconds, peak = first.split()
    return float(seconds), float(peak), rest


def get_reason(error: subprocess.CalledProcessError) -> str:
    """The last line that the measured process itself wrote, or how it was ended."""
    own, _, wrapper = str(error.stderr).strip().partition('Traceback (most recent call last):\n  File "<string>"')
    return (own.strip() or wrapper).splitlines()[-1]
