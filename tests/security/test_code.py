"""What the package must not do at all, looked for in its text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "bids_nodereg"
FILES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "os.execv", "os.execvp", "os.spawnl", "os.spawnv"),
    *("pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "yaml.load", "torch.load", "numpy.load"),
    *("np.load", "joblib.load", "pandas.read_pickle", "pd.read_pickle", "tempfile.mktemp"),
}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "yaml", "joblib", "dill", "cloudpickle"}
NETWORK_MODULES = {
    *("socket", "ssl", "http", "urllib.request", "urllib3", "requests", "ftplib", "smtplib", "telnetlib"),
    *("aiohttp", "httpx", "xmlrpc", "webbrowser"),
}
PROGRAMS = {
    "subprocess.run",
    "subprocess.Popen",
    "subprocess.check_output",
    "subprocess.check_call",
    "subprocess.call",
}
TORCHSCRIPT = {"app/network_mask.py": "deepbet's networks, from its installed package alone"}


def calls(tree):
    """Calls in a file, with the name that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


BETWEEN_OWN_PROCESSES = {"app/dask_crew.py", "app/dask_worker.py"}
"""They pickle what dask carries from the driver to its workers; nothing of it is read from data."""


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_runs_no_text_opens_no_pickle_and_no_connection(file):
    tree = ast.parse(file.read_text("utf-8"))
    name = file.relative_to(PACKAGE).as_posix()
    for called, node in calls(tree):
        is_own = called == "pickle.loads" and name in BETWEEN_OWN_PROCESSES
        assert is_own or called not in FORBIDDEN_CALLS, f"{name}:{node.lineno}"
        assert called != "torch.jit.load" or name in TORCHSCRIPT, f"{name}:{node.lineno}"
        arguments = {keyword.arg: keyword.value for keyword in node.keywords}
        assert "shell" not in arguments, f"{name}:{node.lineno}"
        assert "allow_pickle" not in arguments, f"{name}:{node.lineno}"
        if called in PROGRAMS:
            assert not isinstance(node.args[0], (ast.Constant, ast.JoinedStr, ast.BinOp)), (
                f"{name}:{node.lineno}"
            )
    used = set(imports(tree))
    own = {"pickle"} if name in BETWEEN_OWN_PROCESSES else set()
    assert not used & FORBIDDEN_MODULES - own, name
    assert not used & NETWORK_MODULES, name


def test_the_search_finds_what_it_looks_for():
    tree = ast.parse("import pickle\nfrom urllib import request\nnp.load('x', allow_pickle=True)\neval('1')")
    assert {called for called, _ in calls(tree)} & FORBIDDEN_CALLS == {"np.load", "eval"}
    assert {"pickle", "urllib.request"} <= set(imports(tree))
