"""The changes that jseg makes in its copy of Jittor 1.3.11: the files in `jittor/` here replace those of the
same names, and single lines are edited. The installed files are not changed."""

import shutil
from pathlib import Path

_FILES = Path(__file__).parent / "jittor"
EDITS = (
    # Headers of g++ 15 and newer no longer include it indirectly.
    ("jittor/src/types.h", "#include <vector>\n", "#include <cstdint>\n#include <vector>\n"),
    # g++ 15 checks templates that are not used.
    ("jittor/src/misc/stack_vector.h", "return self->at(index);", "return self->a[index];"),
    # Since Python 3.13, locals() does not contain names that exec() defines in a function.
    ("jittor/compiler.py", "mod = locals()[gen_name]", "mod = os.sys.modules[gen_name]"),
    ("jittor_utils/__init__.py", "mod = locals()[hash]", "mod = sys.modules[hash]"),
    # NumPy passes the requested dtype, and NumPy 2 also whether it needs a copy.
    (
        "jittor/__init__.py",
        "Var.__array__ = Var.numpy\n",
        """def _array_of_var(var, dtype=None, copy=None):
    if copy is False:
        raise ValueError("a Var cannot become an array without a copy; its attribute data shares memory")
    return var.numpy() if dtype is None else var.numpy().astype(dtype)
Var.__array__ = _array_of_var
""",
    ),
    # Fewer and larger translation units, the longest first; see jseg_build.py.
    ("jittor/compiler.py", "from . import pyjt_compiler\n", "from . import jseg_build, pyjt_compiler\n"),
    (
        "jittor/compiler.py",
        "    jit_utils.run_cmds(cmds, cache_path, jittor_path,",
        "    cmds.sort(key=jseg_build.size, reverse=True)\n"
        "    jit_utils.run_cmds(cmds, cache_path, jittor_path,",
    ),
    (
        "jittor/compiler.py",
        "    obj_files += ex_obj_files\n",
        "    jseg_build.finish()\n    obj_files += ex_obj_files\n",
    ),
    (
        "jittor/compiler.py",
        "    jit_utils_core_files = files\n",
        "    jit_utils_core_files = files\n"
        "    if cc_type == 'g++':\n"
        "        files = jseg_build.together(files, jittor_path, os.path.join(cache_path, 'gen'))\n",
    ),
    (
        "jittor/compiler.py",
        "compile(cc_path, cc_flags+opt_flags, files, 'jittor_core'+extension_suffix)",
        "if cc_type == 'g++':\n"
        "    files = jseg_build.together(files, jittor_path, os.path.join(cache_path, 'gen'))\n"
        "compile(cc_path, cc_flags+opt_flags, files, 'jittor_core'+extension_suffix)",
    ),
    # While the core is compiled instead of before.
    (
        "jittor/compiler.py",
        """        run_cmd(fix_cl_flags(f"\\"{cc_path}\\" {dflags} -include \\"{vdp}\\" \\"{data_s_path}\\" -c -o \\"{data_o_path}\\""))
        os.remove(data_s_path)
        with open(data_gz_md5_path, 'w') as f:
            f.write(md5)
""",
        """        def data_done():
            os.remove(data_s_path)
            with open(data_gz_md5_path, 'w') as f:
                f.write(md5)
        jseg_build.start(fix_cl_flags(f"\\"{cc_path}\\" {dflags} -include \\"{vdp}\\" \\"{data_s_path}\\" -c -o \\"{data_o_path}\\""), data_done)
""",
    ),
    # The second of two equal calls, which only notes what the first one was made from.
    (
        "jittor/compiler.py",
        "        # recompile, generate cache key\n"
        "        compile(cc_path, cc_flags+f\" {opt_flags} \", files, jit_utils.cache_path+'/jit_utils_core'+extension_suffix, True)\n",
        "        os.environ['jseg_note'] = '1'\n"
        "        compile(cc_path, cc_flags+f\" {opt_flags} \", files, jit_utils.cache_path+'/jit_utils_core'+extension_suffix, True)\n"
        "        del os.environ['jseg_note']\n",
    ),
    (
        "jittor/src/utils/cache_compile.cc",
        """not found.";
        LOGvvv << "Run cmd:" << cmd;
        check_win_file(output_name);
        system_with_check(""",
        """not found.";
        LOGvvv << "Run cmd:" << cmd;
        check_win_file(output_name);
        if (!(file_exist(output_name) && getenv("jseg_note"))) system_with_check(""",
    ),
    (
        "jittor/compiler.py",
        "flags.nvcc_path = nvcc_path\n",
        "flags.nvcc_path = nvcc_path\n"
        "if cc_type == 'g++':\n"
        "    jseg_build.operator_header(cc_path, flags.cc_flags, os.path.join(cache_path, 'gen'))\n",
    ),
    # How far a build is, for the process that waits for it (jseg/runtime/waiting.py).
    (
        "jittor_utils/__init__.py",
        "    def update(self, i):\n",
        "    def update(self, i):\n"
        "        if 'JSEG_PROGRESS' in os.environ:\n"
        "            with open(os.environ['JSEG_PROGRESS'], 'w') as file:\n"
        "                file.write(f'{i + 1} {self.n} {time.time() - self.time}')\n",
    ),
    (
        "jittor/src/parallel_compiler.cc",
        """            std::cerr << "Compiling Operators(" << i << '/' << n << ")"
                << " used: " << std::setprecision(3) << std::setw(4) << diff/1e9 << "s eta: "
                << std::setprecision(3) << std::setw(4) << eta << "s \\r";""",
        """            std::cerr << "compiling operators, once on this machine: " << i << " of " << n
                << ", about " << int(eta + 0.5) << " s left \\r";""",
    ),
)
"""File, text in it, and replacement."""

UNUSED = (
    "jittor/extern/mkl/ops/cpu_cnn_inference_f32.cpp",
    "jittor/extern/mkl/ops/mkl_test_op.cc",
    "jittor/extern/mkl/ops/mkl_test_op.h",
    *(
        f"jittor/src/test/test_{name}.cc"
        for name in (
            "expr",
            "fast_shared_ptr",
            "jit_key",
            "kernel_ir",
            "nano_vector",
            "op_compiler",
            "op_relay",
            "setitem_op",
            "sfrl_allocator",
        )
    ),
)
"""Sources that hold Jittor's own tests alone."""


def content() -> bytes:
    """Returns all changes, for names derived from the contents of a copy."""
    files = [path.relative_to(_FILES).as_posix().encode() + b"\0" + path.read_bytes() for path in _files()]
    return b"\0".join([repr((EDITS, UNUSED)).encode(), *files])


def lay_over(packages: Path) -> None:
    """Applies the changes to the copied packages jittor and jittor_utils in the folder `packages`.

    Raises:
        OSError: if the folder cannot be written.
    """
    for file in _files():
        copy = packages / "jittor" / file.relative_to(_FILES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    for name, before, after in EDITS:
        file = packages / name
        file.write_text(file.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    for name in UNUSED:
        (packages / name).unlink(missing_ok=True)


def _files() -> list[Path]:
    return sorted(path for path in _FILES.rglob("*") if path.is_file())
