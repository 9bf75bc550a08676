"""The modules on the way of a request, compiled as the packages ship them, say what their source says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.compiled import ROOT, cannot_compile, compiled

_WITNESSES = (
    "test_radius_pipeline.py", "test_radius_hostile.py", "test_radius_codec.py", "test_radius_quick.py",
    "test_radius_eap.py", "test_radius_endpoint.py",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(cannot_compile() is not None, reason=str(cannot_compile()))
def test_the_compiled_modules_pass_the_tests_of_their_source() -> None:
    packages = compiled()
    done = subprocess.run(
        [
            sys.executable, "-c",
            "import sys, pytest, radius.sign_in.pipeline, radius.eap.server, aaa.authorize\n"
            "assert all(one.__file__.endswith('.so') for one in (radius.sign_in.pipeline, radius.eap.server, aaa.authorize))\n"
            "sys.exit(pytest.main(sys.argv[1:]))",
            "-q", "-x", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}",
            *(str(ROOT / "tests" / "radius" / name) for name in _WITNESSES),
        ],
        cwd=packages, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
