"""Packs XLA's programs as JAX exports, for CPUs and for CUDA; needs JAX.

    python pack.py --out build/gpu

NAME.hlo.xz becomes NAME.program.xz: one operation that calls the program, lowered for
both platforms.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.export
import numpy as np
from jax._src import core
from jax._src.interpreters import mlir
from jax._src.lib import _jax
from jax._src.lib.mlir import ir
from jax._src.lib.mlir.dialects import func
from works import BUILD, read, write

_TYPES = {
    "f32": np.float32,
    "f64": np.float64,
    "i1": np.bool_,
    "i8": np.int8,
    "ui8": np.uint8,
    "i32": np.int32,
    "ui32": np.uint32,
    "i64": np.int64,
    "ui64": np.uint64,
}


def pack(program: bytes) -> bytes:
    """Returns an XLA program as a serialised JAX export."""
    function, parameters = as_function(program)
    jitted = jax.jit(function, keep_unused=True)
    exported = jax.export.export(jitted, platforms=("cpu", "cuda"))(*parameters)
    return bytes(exported.serialize())


def as_function(program: bytes) -> tuple[Callable[..., Any], list[Any]]:
    """Returns a function of flat arrays, and what it takes."""
    with mlir.make_ir_context():
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(program))
        without_copies(module)
        code = mlir.module_to_bytecode(module)
        main = ir.SymbolTable(module.operation)["main"]
        shapes = [
            [_shape(one, kind) for one in types]
            for kind, types in (
                (jax.ShapeDtypeStruct, main.type.inputs),
                (core.ShapedArray, main.type.results),
            )
        ]
    primitive = core.Primitive("kpg")
    primitive.multiple_results = True
    primitive.def_abstract_eval(lambda *_: shapes[1])

    def lower(context: Any, *arguments: Any) -> Any:
        inner = ir.Module.parse(code)
        results = ir.SymbolTable(inner.operation)["main"].type.results
        outer = context.module_context
        name = mlir.merge_mlir_modules(
            outer.module, "kpg", inner, dst_symtab=outer.symbol_table
        )
        symbol = ir.FlatSymbolRefAttr.get(name)
        return func.CallOp(results, symbol, list(arguments)).results

    mlir.register_lowering(primitive, lower)
    return (lambda *arguments: primitive.bind(*arguments)), shapes[0]


def _shape(one: Any, kind: Any) -> Any:
    ranked = ir.RankedTensorType(one)
    return kind(tuple(ranked.shape), _TYPES[str(ranked.element_type)])


def without_copies(module: Any) -> None:
    """Takes out XLA's copies, for which StableHLO has no operation."""
    copies = []

    def visit(operation: Any) -> Any:
        if operation.operation.name == "mhlo.copy":
            copies.append(operation.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for copy in copies:
        copy.results[0].replace_all_uses_with(copy.operands[0])
        copy.erase()


def main() -> None:
    """Packs all programs of a folder that are not packed yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=BUILD)
    options = parser.parse_args()
    for source in sorted(options.out.glob("*.hlo.xz")):
        target = source.with_name(source.name.replace(".hlo.", ".program."))
        if target.is_file() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns:
            continue
        with jax.enable_x64(True):
            write(target, pack(read(source)))
        print(f"{target.name}: {target.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
