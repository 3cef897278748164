# SPDX-License-Identifier: BSD-2-Clause
"""`smaccel ab` under test: run, its JSON parsed, and what it must not leave behind."""
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BUILD = Path(os.environ.get("SMACCEL_BUILD", Path(__file__).resolve().parent.parent.parent / "build"))
SMACCEL = str(BUILD / "smaccel")
DRAWN = str(BUILD / "tests/trials/drawn")
PINGPONG = str(BUILD / "tests/bench/pingpong")


def environment(helper=None):
    kept = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith("SMACCEL")}
    kept["SMACCEL_SOCKET"] = str(helper.socket) if helper else "/nonexistent/socket"
    return kept


def start(*arguments, helper=None, extra=(), **options):
    """`extra`: of the environment."""
    return subprocess.Popen([SMACCEL, "ab", *map(str, arguments)], env={**environment(helper), **dict(extra)}, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process, timeout=60):
    """Exit status, stdout, stderr; leaves no process of it behind, whatever happens."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate(timeout=15)
        raise AssertionError(f"smaccel ab was not done after {timeout} s:\n{out}{err}") from None
    return process.returncode, out, err


def run(*arguments, timeout=60, **options):
    return finish(start(*arguments, **options), timeout)


def run_json(*arguments, timeout=60, status=0, **options):
    """The parsed report of a run that ends with `status`."""
    ended, out, err = run("--json", *arguments, timeout=timeout, **options)
    assert ended == status, f"exit status {ended}\n{out[-1500:]}\n{err}"
    return json.loads(out)


def metric(report, name):
    return next(m for m in report["metrics"] if m["name"] == name)


def check_page(text, plots=2):
    """Well-formed, with its plots, and without anything that a browser would fetch."""
    root = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>").lstrip())
    assert len(root.findall(".//{*}svg") + root.findall(".//svg")) >= plots
    assert not re.search(r"(src|href)=|url\(|@import|<script|\bnan\b|\binf\b", text)
    return root


def commands_with(text):
    """pids of processes whose command line has `text`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found
