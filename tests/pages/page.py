"""Runs the commands of a page in one folder, in their order."""

import argparse
import collections
import contextlib
import functools
import io
import re
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import miniature
import pytest
from pages import folder
from pages.commands import ROOT, Command
from pages.rules import only_parsed, stand_ins

from jseg.cli import main as jseg
from jseg.config import Config

_ran: collections.Counter[str] = collections.Counter()  # "as written" and "stand-in"
_unrun: collections.Counter[str] = collections.Counter()  # by reason


class Page:
    """A page while its blocks run.

    Args:
        name: path of the page in the clone.
        store: the stand-ins of this session.

    Attributes:
        folder: current folder of the commands.
    """

    def __init__(self, name: str, store: folder.Store) -> None:
        self.name, self.store = name, store
        self.patch = pytest.MonkeyPatch()
        self._top = Path(tempfile.mkdtemp(prefix="jseg-page-"))
        self.folder = folder.make(self._top, store)
        self._server: Any = None
        self._image = ""
        self._launched: list[Command] = []
        try:
            self._enter()
        except BaseException:
            self.leave()
            raise

    def _enter(self) -> None:
        self.patch.chdir(self.folder)
        self.patch.setenv("JSEG_CACHE", str(self.store.folder / "cache"))
        self.patch.delenv("JSEG_DATA_ROOT", raising=False)
        self.patch.setattr(sys, "excepthook", sys.excepthook)
        self.patch.setattr(sys, "argv", list(sys.argv))
        self.patch.setattr(sys, "path", list(sys.path))
        folder.publish(self.store, self.patch)
        from jseg.drawn import pretrain
        from jseg.runner import figures
        from jseg.web.server import Server

        accuracy = functools.partial(pretrain.zero_shot_accuracy, count=20)  # images, in place of 400
        self.patch.setattr(pretrain, "zero_shot_accuracy", accuracy)
        # The report draws the curves too. Here, they would cost a second for each run.
        self.patch.setattr(figures, "can_draw", lambda: False)
        self.patch.setattr(Server, "serve_until_interrupted", lambda server: self._serve(server))

    def leave(self) -> None:
        """Restores the process, and removes the folder."""
        self._stop_server()
        self.patch.undo()
        shutil.rmtree(self._top, ignore_errors=True)

    def run(self, command: Command) -> None:
        """Runs or checks a command, and counts it.

        Raises:
            AssertionError: it failed.
        """
        rule = only_parsed(command)
        if rule is not None:
            check_unrun(command)
            _unrun[rule.reason] += 1
            return
        replaced = stand_ins(command)
        words, stdin = without_launcher(list(command.words)), command.stdin
        for stand_in in replaced:
            if stand_in.old:
                words = [re.sub(stand_in.old, stand_in.new, word) for word in words]
                stdin = re.sub(stand_in.old, stand_in.new, stdin)
            words += stand_in.more
        changed = Command(tuple(word for word in words if word), stdin)
        launched = words[0] != command.words[0]
        _ran["stand-in" if replaced else "as written"] += 1
        if launched and changed in self._launched:  # differs in the number and binding of processes only
            return
        self._launched += [changed] if launched else []
        folder.provide(changed, self.folder, self.store)
        print("$", *changed.words)
        with contextlib.ExitStack() as redirected:
            if command.target:
                file = redirected.enter_context(Path(command.target).open("w", encoding="utf-8"))
                redirected.enter_context(contextlib.redirect_stdout(file))
            status = self._execute(list(changed.words), stdin)
        assert status in (0, None), f"exit status {status}: {command.text}"

    def _execute(self, words: list[str], stdin: str) -> int | None:
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.patch.setenv(name, value)
            return 0
        if words[0] == "curl":
            return self._curl(words)
        if words[:2] == ["python", "-"]:
            exec(compile(stdin, "<stdin>", "exec"), {"__name__": "__main__"})
            return 0
        arguments = self._filled(words)
        if words[0] == "jseg":
            return jseg.main(arguments[1:])
        assert words[0] == "python", f"there is no rule for {words[0]}"
        tool = re.fullmatch(r"tools/(\w+)\.py", words[1])
        assert tool is not None, f"there is no rule for {words[1]}"
        return jseg.load(jseg.Command(tool[1], "")).main(arguments[2:])

    def _filled(self, words: list[str]) -> list[str]:
        """Replaces the words that are longer than a rule should be."""
        filled: list[str] = []
        for word in words:
            if word == "REDUCED":
                options = miniature.reduced(Config.load(ROOT / folder.VOC))
                filled += [*options, "max_iters=2", "checkpoint_interval=1", "model.templates=single"]
            elif word == "MIRROR":
                filled.append(str(self.store.archives))
            else:
                filled.append(word)
        return filled

    def _serve(self, server: Any) -> bool:
        """Asks for the page once, in place of serving it until Ctrl-C. The application stays for `curl`."""
        self._stop_server()
        self._server = server
        client = server.app.test_client()
        assert client.get("/").status_code == client.get("/api/info").status_code == 200
        return True

    def _stop_server(self) -> None:
        if self._server is not None:
            assert self._server.worker.close()
            self._server = None

    def _curl(self, words: list[str]) -> int:
        """Sends a request of curl (-s, -H, -d, --data-binary) to the application."""
        headers: dict[str, str] = {}
        data, address, rest = b"", "", iter(words[1:])
        for word in rest:
            if word == "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            elif word == "--data-binary":
                data = Path(next(rest).removeprefix("@")).read_bytes()
            elif word == "-d":
                data = next(rest).replace("NAME", self._image).encode()
            elif not word.startswith("-"):
                address = word
        assert address.startswith("http://127.0.0.1:8000/") and self._server is not None
        path = address.removeprefix("http://127.0.0.1:8000")
        response = self._server.app.test_client().post(path, data=data, headers=headers)
        assert response.status_code in (200, 201), response.get_json()
        self._image = response.get_json().get("image", self._image)
        return 0


def summary() -> str:
    """Says how many commands ran so far, and why the others did not."""
    first = (
        f"{_ran['as written']} ran as they are written, {_ran['stand-in']} on stand-ins, "
        f"{_unrun.total()} were only parsed:"
    )
    return "\n".join([first, *(f"  {count:3}  {reason}" for reason, count in _unrun.most_common())])


def without_launcher(words: list[str]) -> list[str]:
    """Drops `mpirun` and `time` with their options."""
    if words[0] in ("mpirun", "/usr/bin/time"):
        return words[next(n for n, word in enumerate(words) if word in ("python", "jseg")) :]
    return words


def check_unrun(command: Command) -> None:
    """Checks what can be checked of a command without running it.

    Raises:
        AssertionError: a target, extra, script or option does not exist.
    """
    words = [word for word in command.words if not re.match(r"[A-Z_]+=", word)]
    if words[0] == "make":
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", targets, re.MULTILINE) for target in words[1:]), words
    elif words[0] == "pip":
        extras = re.findall(r'"([\w-]+)": \[', (ROOT / "setup.py").read_text(encoding="utf-8"))
        assert all(name in extras for word in words for name in re.findall(r"\[(.+)\]", word)), words
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file(), words[1]
        parse_options(ROOT / words[1], [word.replace("$!", "1") for word in words[2:]])


def parse_options(script: Path, options: list[str]) -> None:
    """Runs a script until it has parsed its options.

    Raises:
        AssertionError: it refuses them.
    """

    class Parsed(BaseException):
        """Ends the script."""

    def parsed(self, args=None, namespace=None):
        _, unknown = self.parse_known_args(args, namespace)
        assert not unknown, f"{script.name} has no {unknown}"
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parsed)
        patch.setattr(sys, "argv", [str(script), *options])
        patch.setattr(sys, "path", [str(script.parent), *sys.path])
        patch.setattr(sys, "stderr", stderr := io.StringIO())
        try:
            runpy.run_path(str(script), run_name="__main__")
        except Parsed:
            return
        except SystemExit as stop:
            raise AssertionError(f"{script.name} {options}: {stop.code}\n{stderr.getvalue()}") from None
    raise AssertionError(f"{script.name} parsed no options")
