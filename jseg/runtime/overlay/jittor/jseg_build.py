"""How the copy of Jittor 1.3.11 that jseg imports builds itself; `compiler.py` there calls these functions.

Most of the time of compiling one file of Jittor's core goes into the same headers and the same templates of the
standard library. So many files are compiled as one translation unit, the longest unit first, and operators start
from a precompiled header. Options of the compiler are those of Jittor.
"""

import os
import re
import subprocess
from pathlib import Path

_FILES, _BYTES = 12, 150_000  # of sources in one unit
# Files that read something else than the others under a name, or that take longer than a unit.
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
# What is initialised when the core is loaded follows the order of linking: these keep their places in it.
_ORDERED = ("register", "gen/pyjt_", "op_utils.cc", "init.cc", "event_queue.cc", "executor.cc", "profiler.cc")
_STATIC = re.compile(
    r"^(?:inline\s+)?static\s+(?:inline\s+)?[\w:<>,*& ]+?[\s*&](\w+)\s*[=;({\[]", re.MULTILINE
)
# Macros and headers that a generated operator begins with. With JIT defined, as there, or headers differ.
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


def together(files, jittor_path, folder):
    """Sources in the order of linking -> fewer ones, written to `folder`, that include the small ones.

    A name that two files of a unit declare static gets another name in the second one.
    """
    made, group, kind = [], [], None  # a unit stands where the first of its files stood
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
    seen, lines = set(), []
    for number, source in enumerate(sources):
        names = set(_STATIC.findall(source.read_text(encoding="utf-8")))
        twice = sorted(names & seen)
        seen |= names
        lines += [f"#define {name} {name}_{number}" for name in twice]
        lines.append(f'#include "{source}"')
        lines += [f"#undef {name}" for name in twice]
    path = Path(folder, f"unit_{sources[0].stem}.cc")
    text = "\n".join(lines) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return str(path)


def size(command):
    """Bytes of the source of a compiler call, which tell roughly how long it takes."""
    sources = [
        Path(name) for name in re.findall(r'"([^"]+)"', command) if name.endswith((".cc", ".cu", ".cpp"))
    ]
    if not sources or not sources[0].name.startswith("unit_"):
        return sum(source.stat().st_size for source in sources)
    included = re.findall(r'^#include "(.+)"$', sources[0].read_text(encoding="utf-8"), re.MULTILINE)
    return sum(Path(name).stat().st_size for name in included)


_meanwhile = []


def start(command, then):
    """Starts a compiler call that nothing waits for before `finish`, which calls `then` after its success."""
    _meanwhile.append((command, subprocess.Popen(command, shell=True), then))


def finish():
    """Waits for what `start` has started.

    Raises:
        RuntimeError: a call failed.
    """
    while _meanwhile:
        command, process, then = _meanwhile.pop()
        if process.wait():
            raise RuntimeError(f"Run cmd failed: {command}")
        then()


def operator_header(compiler, flags, folder):
    """Precompiles what all operators include, in `folder`/operators.h.gch, unless it is there. g++ leaves a header aside
    that was made by another g++ or with other options, and reads the plain file instead."""
    header = Path(folder, "operators.h")
    compiled = header.with_name("operators.h.gch")
    if compiled.is_file() and header.is_file() and header.read_text(encoding="utf-8") == _OPERATOR_HEADER:
        return
    header.write_text(_OPERATOR_HEADER, encoding="utf-8")
    temporary = header.with_name(f"operators.h.{os.getpid()}")
    options = re.sub(r' -(?:l|L|Wl,)(?:"[^"]*"|\S)+', "", flags)
    command = f'"{compiler}" -x c++-header "{header}" {options} -o "{temporary}"'
    if subprocess.call(command, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        temporary.unlink(missing_ok=True)  # operators do without
    else:
        temporary.replace(compiled)
