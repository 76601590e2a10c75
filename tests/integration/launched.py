"""Programs in several processes, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.dying import ROOT


def launched(processes: int, *arguments: str, cwd: Path, timeout: int) -> subprocess.CompletedProcess[str]:
    """Run a program (or ``-m`` and a module) with its flags in several processes on the CPU; it must not fail."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run(
        [*launcher, *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done
