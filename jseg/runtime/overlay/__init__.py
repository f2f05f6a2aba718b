"""The changes that jseg makes in its copy of Jittor 1.3.11: the files in `jittor/` here replace those of the
same names, and single lines are edited. The installed files are not changed."""

import shutil
from pathlib import Path

_FILES = Path(__file__).parent / "jittor"
_BOOTSTRAP = (
    """cc_path, cc_flags+f" {opt_flags} ", files, """
    "jit_utils.cache_path+'/jit_utils_core'+extension_suffix, True)"
)
_SOURCES = """glob.glob(jittor_path+"/src/**/*.cc", recursive=True)"""
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
        """    cmds.sort(key=jseg_build.size, reverse=True)
    jit_utils.run_cmds(cmds, cache_path, jittor_path,""",
    ),
    (
        "jittor/compiler.py",
        "    obj_files += ex_obj_files\n",
        "    jseg_build.finish()\n    obj_files += ex_obj_files\n",
    ),
    (
        "jittor/compiler.py",
        "compile(cc_path, cc_flags+opt_flags, files, 'jittor_core'+extension_suffix)",
        """jseg_build.in_units(
    lambda names: compile(cc_path, cc_flags+opt_flags, names, 'jittor_core'+extension_suffix),
    files, cc_type, jittor_path, os.path.join(cache_path, 'gen'))""",
    ),
    # The bootstrap library is compiled in one call. Jittor compiles it twice, the second time only to record
    # what the first one was made from.
    (
        "jittor/compiler.py",
        f"""    recompile = compile({_BOOTSTRAP}\n""",
        """    def compile_bootstrap():
        return jseg_build.in_units(
            lambda names: compile(cc_path, cc_flags+f" {opt_flags} ", names,
                jit_utils.cache_path+'/jit_utils_core'+extension_suffix, True),
            files, cc_type, jittor_path, os.path.join(cache_path, 'gen'))
    recompile = compile_bootstrap()
""",
    ),
    (
        "jittor/compiler.py",
        f"""        compile({_BOOTSTRAP}\n""",
        """        os.environ['jseg_record_only'] = '1'
        compile_bootstrap()
        del os.environ['jseg_record_only']
""",
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
        if (!(file_exist(output_name) && getenv("jseg_record_only"))) system_with_check(""",
    ),
    # Assembled at the same time as the core is compiled, not before.
    (
        "jittor/compiler.py",
        """        run_cmd(fix_cl_flags(f"\\"{cc_path}\\" {dflags} -include """,
        """        jseg_build.start(fix_cl_flags(f"\\"{cc_path}\\" {dflags} -include """,
    ),
    (
        "jittor/compiler.py",
        """ -c -o \\"{data_o_path}\\""))
        os.remove(data_s_path)
        with open(data_gz_md5_path, 'w') as f:
            f.write(md5)
""",
        """ -c -o \\"{data_o_path}\\""), data_s_path, data_gz_md5_path, md5)
""",
    ),
    (
        "jittor/compiler.py",
        "flags.nvcc_path = nvcc_path\n",
        """flags.nvcc_path = nvcc_path
if cc_type == 'g++':
    jseg_build.operator_header(cc_path, flags.cc_flags, os.path.join(cache_path, 'gen'))
""",
    ),
    # Progress of a build, for the process that waits for it (jseg/runtime/waiting.py).
    (
        "jittor_utils/__init__.py",
        "    def update(self, i):\n",
        """    def update(self, i):
        if 'JSEG_PROGRESS' in os.environ:
            with open(os.environ['JSEG_PROGRESS'], 'w') as file:
                file.write(f'{i + 1} {self.n} {time.time() - self.time}')
""",
    ),
    (
        "jittor/src/parallel_compiler.cc",
        """            std::cerr << "Compiling Operators(" << i << '/' << n << ")"
                << " used: " << std::setprecision(3) << std::setw(4) << diff/1e9 << "s eta: "
                << std::setprecision(3) << std::setw(4) << eta << "s \\r";""",
        """            std::cerr << "preparing operators, compiled once on this machine: " << i << " of " << n
                << ", about " << int(eta + 0.5) << " s left \\r";""",
    ),
    # Two compilers of one version, such as those of two conda environments, would otherwise share a folder
    # and recompile everything at each change. /bin and /usr/bin are one folder.
    (
        "jittor_utils/__init__.py",
        "ccv = cc_type+get_version(cc_path)[1:-1] \\\n",
        "ccv = cc_type+get_version(cc_path)[1:-1]+'-'+get_str_hash(cc_path)[:4] \\\n",
    ),
    (
        "jittor_utils/__init__.py",
        """os.environ["cc_path"] = cc_path\n""",
        """cc_path = shutil.which(cc_path)
cc_path = os.path.join(os.path.realpath(os.path.dirname(cc_path)), os.path.basename(cc_path))
os.environ["cc_path"] = cc_path
""",
    ),
    # What was compiled on one host is for all hosts with the same CPU and C library, whatever their names and
    # kernels: jobs use what was compiled on a login node, or while an image was built.
    (
        "jittor_utils/__init__.py",
        "    osv = platform.platform() + platform.node()\n",
        "    osv = platform.system() + platform.machine() + ''.join(platform.libc_ver())\n",
    ),
    # Generated files and units would follow the order in which a file system lists its folders. In a cache
    # that was moved to another one, as into the image of a container, each start would compile all again.
    *(
        (
            "jittor/compiler.py",
            f"def {name}():\n    all_src = {_SOURCES}\n",
            f"def {name}():\n    all_src = sorted({_SOURCES})\n",
        )
        for name in ("gen_jit_tests", "gen_jit_flags")
    ),
    (
        "jittor/compiler.py",
        """op_headers = glob.glob(jittor_path+"/src/ops/**/*op.h", recursive=True)\n""",
        """op_headers = sorted(glob.glob(jittor_path+"/src/ops/**/*op.h", recursive=True))\n""",
    ),
    (
        "jittor/compiler.py",
        """files4 = glob.glob(jittor_path+"/src/**/*."+ext_args, recursive=True)\n""",
        """files4 = sorted(glob.glob(jittor_path+"/src/**/*."+ext_args, recursive=True))\n""",
    ),
    (
        "jittor/compiler.py",
        "    for name in filenames:\n        name = os.path.realpath(name)\n",
        "    for name in sorted(filenames):\n        name = os.path.realpath(name)\n",
    ),
    (
        "jittor/pyjt_compiler.py",
        "    headers = headers1 + headers2\n",
        "    headers = sorted(headers1) + sorted(headers2)\n",
    ),
    # Jittor would store the JITTOR_HOME of one process for all later ones of the user.
    (
        "jittor_utils/__init__.py",
        """    if default_path != _home_path:
        with open(src_path_file,"w") as f:
            data['JITTOR_HOME'] = _home_path
            json.dump(data,f)
""",
        "",
    ),
    # Memory of CPUs comes in arenas of 1 GiB, for variables up to 1 MiB of 64 MiB, whose free parts merge.
    # Jittor takes a block of its own size for each variable above 5 MiB, and free ones fit no other; its
    # blocks of 1 MiB lie between the buffers of other libraries in malloc's heap, which cannot shrink then.
    # Only touched pages count. Where an arena is refused (ulimit -v), a block has its own size. Where that is
    # refused too, the error can be read; Jittor would write to address 0.
    (
        "jittor/src/mem/allocator/sfrl_allocator.cc",
        "constexpr int64 sfrl_large_block_size_cpu=5242880;",
        "constexpr int64 sfrl_large_block_size_cpu=1ll<<30;",
    ),
    (
        "jittor/src/mem/allocator/sfrl_allocator.cc",
        """    if (size <= SMALL_BLOCK_SIZE)
        return SMALL_BLOCK_SIZE;
    int64""",
        """    if (size <= SMALL_BLOCK_SIZE)
        return is_cuda() ? SMALL_BLOCK_SIZE : size_t(64) << 20;
    int64""",
    ),
    (
        "jittor/src/mem/allocator/sfrl_allocator.cc",
        """        try {
            ptr = underlying->alloc(alloc_size, allocation);
        } catch (...) {
""",
        """        try {
            try {
                ptr = underlying->alloc(alloc_size, allocation);
            } catch (...) {
                size_t own_size = (size + LARGE_ALIGN_SIZE - 1) / LARGE_ALIGN_SIZE * LARGE_ALIGN_SIZE;
                if (is_cuda() || own_size >= alloc_size) throw;
                ptr = underlying->alloc(alloc_size = own_size, allocation);
            }
        } catch (...) {
""",
    ),
    (
        "jittor/src/mem/allocator/aligned_allocator.cc",
        "    return aligned_alloc(alignment, size);\n",
        """    void* memory = aligned_alloc(alignment, size);
    if (memory == nullptr)
        throw std::runtime_error("Unable to alloc memory for size " + std::to_string(size));
    return memory;
""",
    ),
    # A product has no gradient of its own (jseg/ops/basic.py adds it), so its operands and its result need
    # not stay for it.
    (
        "jittor/extern/mkl/ops/mkl_matmul_op.cc",
        "    c = create_output(nullptr, a->dtype());\n",
        """    c = create_output(nullptr, a->dtype());
    flags.set(NodeFlags::_manual_set_vnbb);
""",
    ),
    # Jittor waits silently while another process compiles operators.
    ("jittor/src/lock.cc", "#include <errno.h>\n", "#include <errno.h>\n#include <iostream>\n"),
    (
        "jittor/src/lock.cc",
        """    ASSERT(fcntl(lock_fd, F_SETLKW, &lock) == 0);
#endif
    _has_lock = 1;
""",
        """    wait_for_lock(lock);
#endif
    _has_lock = 1;
""",
    ),
    (
        "jittor/src/lock.cc",
        """void lock() {
""",
        """#ifndef _WIN32
static int announced_holder = 0;

static void wait_for_lock(struct flock& wanted) {
    for (int i = 0; i < 500; i++) { // 5 seconds
        if (fcntl(lock_fd, F_SETLK, &wanted) == 0) return;
        ASSERT(errno == EACCES || errno == EAGAIN);
        ASSERT(usleep(10000) == 0) << "interrupted";
    }
    struct flock holder = wanted;
    bool held = fcntl(lock_fd, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK;
    if (held && holder.l_pid != announced_holder) {
        announced_holder = holder.l_pid;
        std::cerr << "waiting for process " << holder.l_pid
            << ", which holds the lock of Jittor's cache" << std::endl;
    }
    ASSERT(fcntl(lock_fd, F_SETLKW, &wanted) == 0);
}
#endif

void lock() {
""",
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
    """Returns the files without those that pip or an import of one compiles, which differ each time."""
    return sorted(path for path in _FILES.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
