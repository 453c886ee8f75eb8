"""Counts what an H100 would do in an iteration, on a machine without one; needs JAX.

    python count.py --program "kpg=build/gpu" --only cart_pole_4096

Programs are compiled for the device's description alone. Each prints a line of JSON:

- kernels: launches of one iteration. A loop counts as often as it runs, but the
  outermost ones, over iterations or tokens, as one pass;
- waits: how often the host waits for the device to learn whether a loop goes on, or
  which branch is taken;
- temporary_mb: memory that the program plans for besides what it is given and gives.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jax_plugins.xla_cuda13  # noqa: F401  # registers the compiler for the card
from contenders import contenders
from jax.experimental import topologies
from kernels import count
from works import MEASURED, WORKS, Control, Text

# XLA reads these when it compiles. Which of several kernels is the fastest cannot be
# tried out without a device.
_CUDA = Path(jax.__file__).parents[1] / "nvidia" / "cu13"
os.environ["XLA_FLAGS"] = f"--xla_gpu_cuda_data_dir={_CUDA} --xla_gpu_autotune_level=0"
os.environ["PATH"] = f"{_CUDA / 'bin'}{os.pathsep}{os.environ['PATH']}"

# NVIDIA's H100 SXM as XLA sees it.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def counted(
    contender: Any, sharding: Any, work: Control | Text, keep: Path | None = None
) -> dict[str, Any]:
    """Compiles for the device and returns what was counted."""
    lowered = contender.lower(sharding)
    began = time.perf_counter()
    # Triton's kernels for large products are chosen by trying them out, or not at all.
    small = isinstance(work, Control)
    program = lowered.compile(None if small else {"xla_gpu_enable_triton_gemm": False})
    seconds = time.perf_counter() - began
    text, memory = program.as_text(), program.memory_analysis()
    if keep is not None:
        keep.write_text(text, "utf-8")
    found = count(text, work.updates)
    return {
        "kernels": found.kernels,
        "waits": found.waits,
        "temporary_mb": round(memory.temp_size_in_bytes / 1e6, 1),
        "compile_seconds": round(seconds, 1),
    }


def device() -> Any:
    """Returns where programs for the described H100 are compiled."""
    topology = topologies.get_topology_desc(
        "H100", "cuda", topology="1x1x1", target_config=H100
    )
    return jax.sharding.SingleDeviceSharding(topology.devices[0])


def main() -> None:
    """Counts what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", action="append", required=True)
    parser.add_argument("--only", action="append", choices=list(WORKS))
    parser.add_argument("--who", action="append", help="default: all")
    parser.add_argument("--keep", type=Path, help="folder for the optimised programs")
    options = parser.parse_args()
    pairs = (one.split("=", 1) for one in options.program)
    folders = {label: Path(folder) for label, folder in pairs}
    sharding = device()
    for name in options.only or MEASURED:
        for who, contender in contenders(name, WORKS[name], folders).items():
            if options.who and who not in options.who:
                continue
            keep = options.keep and options.keep / f"{name}.{who}.hlo"
            line = {
                "work": name,
                "who": who,
                **counted(contender, sharding, WORKS[name], keep),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
