"""Functions with which jseg's copy of Jittor 1.3.11 compiles itself; called from its `compiler.py`.

Compiling one file of Jittor's core mostly means compiling the same headers and templates of the standard
library. Therefore, several files are compiled as one translation unit, the longest unit first, and operators
use a precompiled header. Jittor's compiler options are unchanged. If a compiler fails on a unit or on the
precompiled header, files are compiled one by one, and operators without the header.
"""

import os
import re
import subprocess
from pathlib import Path

_FILES, _BYTES = 12, 150_000  # of sources in one unit
# Files in which a name has another meaning than in the others, or that take longer than a unit.
_ALONE = (
    "cuda_flags.cc",
    "common_op_type.cc",
    "conv_tuner.cc",
    "expr.cc",
    "fp16_op_type.cc",
    "kernel_ir.cc",
    "miniz.cc",
    "nan_checker.cc",
    "op_compiler.cc",
    "op_utils.cc",
    "pyjt_jit_flags.cc",
    "pyjt_jit_op_maker.cc",
    "pyjt_miniz.cc",
)
# The order of linking determines the order of initialisation when the core is loaded. These keep it.
_ORDERED = ("register", "gen/pyjt_", "op_utils.cc", "init.cc", "event_queue.cc", "executor.cc", "profiler.cc")
_STATIC = re.compile(
    r"^(?:inline\s+)?static\s+(?:inline\s+)?[\w:<>,*& ]+?[\s*&](\w+)\s*[=;({\[]", re.MULTILINE
)
# Macros and headers at the start of a generated operator. Some headers depend on JIT.
_OPERATOR_HEADER = """#define JIT 1
#define JIT_cpu 1
#include <assert.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include "var.h"
#include "op.h"
#include "ops/op_register.h"
#include "ops/array_op.h"
#include "ops/binary_op.h"
#include "ops/broadcast_to_op.h"
#include "ops/reduce_op.h"
#include "ops/unary_op.h"
#include "misc/cpu_math.h"
#include "fused_op.h"
#include "executor.h"
"""


def in_units(compile_files, files, kind, jittor_path, folder):
    """Calls `compile_files` with larger translation units if the compiler is g++. If that fails, calls it
    with `files`, also from now on."""
    failed = Path(folder, "units_failed")
    if kind != "g++" or failed.is_file():
        return compile_files(files)
    try:
        return compile_files(together(files, jittor_path, folder))
    except Exception:
        result = compile_files(files)
        failed.touch()
        return result


def together(files, jittor_path, folder):
    """Returns fewer sources, in the order of linking, written to `folder` and including the small ones.

    A static name that is declared in two files of a unit is renamed in the second one.
    """
    made, group, kind = [], [], None  # a unit has the place of the first of its files
    for name in files:
        source = Path(jittor_path, name)
        before, kind = kind, next((mark for mark in _ORDERED if mark in str(source)), "")
        if source.suffix != ".cc" or source.name in _ALONE:
            made.append([name])
            continue
        size = sum(Path(jittor_path, one).stat().st_size for one in [*group, name])
        if kind != before or not group or len(group) == _FILES or size > _BYTES:
            group = []
            made.append(group)
        group.append(name)
    return [
        _unit([Path(jittor_path, one) for one in unit], folder) if len(unit) > 1 else unit[0] for unit in made
    ]


def _unit(sources, folder):
    path = Path(folder, f"unit_{sources[0].stem}.cc")
    if path.is_file() and _included(path) == list(map(str, sources)):  # the copy of Jittor does not change
        return str(path)
    seen, lines = set(), []
    for number, source in enumerate(sources):
        names = set(_STATIC.findall(source.read_text(encoding="utf-8")))
        twice = sorted(names & seen)
        seen |= names
        lines += [f"#define {name} {name}_{number}" for name in twice]
        lines.append(f'#include "{source}"')
        lines += [f"#undef {name}" for name in twice]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _included(unit):
    return re.findall(r'^#include "(.+)"$', unit.read_text(encoding="utf-8"), re.MULTILINE)


def size(command):
    """Returns the bytes of the sources of a compiler call, as a rough measure of its duration."""
    sources = [
        Path(name) for name in re.findall(r'"([^"]+)"', command) if name.endswith((".cc", ".cu", ".cpp"))
    ]
    if sources and sources[0].name.startswith("unit_"):
        sources = [Path(name) for name in _included(sources[0])]
    return sum(source.stat().st_size for source in sources)


_started = []


def start(command, source, record, text):
    """Starts a compiler call. After its success, `finish` removes `source` and writes `text` to `record`."""
    _started.append((command, subprocess.Popen(command, shell=True), Path(source), Path(record), text))


def finish():
    """Waits for the calls started by `start`.

    Raises:
        RuntimeError: if one failed.
    """
    while _started:
        command, process, source, record, text = _started.pop()
        if process.wait():
            raise RuntimeError(f"Run cmd failed: {command}")
        source.unlink()
        record.write_text(text)


def operator_header(compiler, flags, folder):
    """Precompiles the headers that all operators include as `folder`/operators.h.gch, unless this has been
    done or has failed before.

    g++ ignores the file if it was made by another g++ or with other options, and reads operators.h instead.
    """
    header = Path(folder, "operators.h")
    compiled, failed = header.with_name("operators.h.gch"), header.with_name("operators_failed")
    if compiled.is_file() or failed.is_file():
        return
    header.write_text(_OPERATOR_HEADER, encoding="utf-8")
    temporary = header.with_name(f"operators.h.{os.getpid()}")
    options = re.sub(r' -(?:l|L|Wl,)(?:"[^"]*"|\S)+', "", flags)
    command = f'"{compiler}" -x c++-header "{header}" {options} -o "{temporary}"'
    if subprocess.call(command, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        temporary.unlink(missing_ok=True)
        failed.touch()
    else:
        temporary.replace(compiled)
