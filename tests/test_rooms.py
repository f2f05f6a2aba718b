"""Allowed imports between packages, without cycles, checked in the syntax trees."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jseg"

# From the bottom up. Each package may import the listed packages, the foundation and itself. Imports inside
# functions count too. The foundation consists of the top-level modules.
FOUNDATION = {"files", "interpolation", "labels", "names", "progress", "registry"}
ROOMS = {
    "runtime": set(),
    "config": set(),
    "checkpoints": set(),
    "datasets": set(),
    "evaluation": set(),
    "visualization": set(),
    "ops": {"runtime"},
    "optim": {"ops", "checkpoints", "runtime"},
    "distributed": {"runtime"},
    "models": {"ops", "checkpoints", "runtime"},
    "inference": {
        "models",
        "ops",
        "datasets",
        "evaluation",
        "visualization",
        "checkpoints",
        "config",
        "runtime",
    },
    "reproduce": {"config"},
    "report": {"config", "datasets", "evaluation", "visualization"},
    "download": {"datasets", "checkpoints", "runtime"},
    "drawn": {"models", "optim", "datasets", "runtime"},
    "runner": {
        "models",
        "inference",
        "optim",
        "ops",
        "distributed",
        "datasets",
        "evaluation",
        "visualization",
        "checkpoints",
        "config",
        "runtime",
    },
    "doctor": {"ops", "runtime"},
    "parity": {"models", "optim", "checkpoints", "ops", "runtime"},
    "gpu_check": {"parity", "runner", "models", "optim", "ops", "checkpoints", "config", "runtime"},
    "web": {"inference", "datasets", "runtime"},
    "cli": {
        "web",
        "gpu_check",
        "parity",
        "doctor",
        "runner",
        "inference",
        "drawn",
        "reproduce",
        "report",
        "download",
        "models",
        "distributed",
        "datasets",
        "evaluation",
        "visualization",
        "checkpoints",
        "config",
        "runtime",
    },
}
TOP = {"__init__", "__main__"}  # may import what they hand on


def modules() -> dict[str, Path]:
    """Dotted name -> file, of the whole package."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of jseg that a module imports anywhere in its text."""
    known = modules()
    if module == "jseg":  # imported with each of its rooms; what it hands on is imported on demand
        return frozenset()
    found = set()
    for node in ast.walk(ast.parse(known[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            # `from jseg.ops import basic` means the module, `from jseg.ops import linear` the package.
            found.update(
                whole if (whole := f"{node.module}.{name.name}") in known else str(node.module)
                for name in node.names
            )
    return frozenset(name for name in found if name.split(".")[0] == "jseg")


def room(module: str) -> str:
    """Returns the package of a module, or "foundation"."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    return "foundation" if name in FOUNDATION else name


def test_every_room_is_in_the_table() -> None:
    present = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.rglob("*.py"))}
    assert present - TOP == FOUNDATION | set(ROOMS)


def test_arrows_of_the_table_point_down() -> None:
    above: set[str] = set()
    for name, allowed in reversed(ROOMS.items()):
        assert not allowed & (above | {name}), name
        above.add(name)


@pytest.mark.parametrize("name", ["foundation", *ROOMS])
def test_a_room_imports_what_it_may(name: str) -> None:
    allowed = {name, "foundation", "__init__", *ROOMS.get(name, ())}  # jseg itself contains the version
    wrong = [
        f"{module} -> {target}"
        for module in modules()
        if room(module) == name
        for target in sorted(imports(module))
        if room(target) not in allowed
    ]
    assert not wrong


def test_no_module_imports_itself_through_others() -> None:
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module in done:
            return
        for target in imports(module):
            visit(target, (*trail, module))
        done.add(module)

    for module in modules():
        visit(module, ())


def test_the_package_itself_imports_nothing() -> None:
    """It is imported with each of its packages; `Segmenter` is imported on first use."""
    code = (
        "import sys, jseg; jseg.__version__; assert 'Segmenter' in dir(jseg); "
        "print([name for name in sys.modules if name.startswith(('jseg.', 'jittor', 'numpy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_runtime_and_foundation_need_the_standard_library_alone() -> None:
    """Jittor is imported by the backend, NumPy by what compares it with Jittor and by the interpolation
    weights, and tqdm when a bar is drawn."""
    allowed = {"jseg", *sys.stdlib_module_names}
    exceptions = {
        "jseg.runtime.backend": {"jittor", "jittor_utils"},
        "jseg.runtime.exchange": {"numpy"},
        "jseg.interpolation": {"numpy"},
        "jseg.progress": {"tqdm"},
    }
    for module, path in modules().items():
        if room(module) in ("runtime", "foundation", "config", "doctor") and module != "jseg.doctor.selftest":
            wrong = outside(path) - allowed - exceptions.get(module, set())
            assert not wrong, (module, wrong)


def outside(path: Path) -> set[str]:
    """First names of all modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_nothing_is_loaded_by_its_path_or_behind_the_table() -> None:
    """Two places import a module by its name: the console command that of the chosen command, and the config
    the plug-ins that it names."""
    by_name = (PACKAGE / "cli" / "main.py", PACKAGE / "config" / "plugins.py")
    words = ("spec_from_" + "file_location", "SourceFile" + "Loader", "__imp" + "ort__", "run" + "py.")
    for path in (
        path for folder in ("jseg", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")
    ):
        text = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in text], path
        assert "import_" + "module" not in text or path in by_name, path
