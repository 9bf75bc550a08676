"""Packages as they are built, and bare Debian trees to install them in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
# As little as systemd boots from; manuals and translations are of no use to a test.
_BARE = "systemd,systemd-sysv,dbus,python3"
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")


def prepared(what: str) -> Path | None:
    """What ``prepare`` has made of that name in the folder that HILLTOP_PREPARED names."""
    folder = os.environ.get("HILLTOP_PREPARED")
    return path if folder and (path := Path(folder, what)).exists() else None


def missing() -> str | None:
    """Why no bare Debian can be made here, None if one can be tried."""
    if os.geteuid() != 0:
        return "making a Debian tree needs root"
    for tool, package in (("mmdebstrap", "mmdebstrap"), ("dpkg-deb", "dpkg")):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian package {package})"
    return None


def start_package(suite: str, folder: Path, *environment: str) -> subprocess.Popen[str]:
    """Begin to build the package of one suite, or ``all``, into ``folder``, lightly compressed."""
    light = ["HILLTOP_PACKAGE_LEVEL=1", *environment]
    return subprocess.Popen(
        ["env", *light, str(ROOT / "dev"), "package", suite, "--output", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def start_tree(suite: str, tree: Path) -> subprocess.Popen[str]:
    """Begin to make a bare Debian of one suite at ``tree``, from the mirror this machine itself uses."""
    options = [f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT]
    options.append('--aptopt=APT::Install-Recommends "false"')
    mirror = _mirror()
    source = [f"deb {mirror} {suite} main"] if mirror else []
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_BARE}", "--format=directory"]
    return subprocess.Popen(
        [*command, *options, suite, str(tree), *source],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], timeout_s: float) -> str | None:
    """Wait for the end; None when it was a good one, else what it said."""
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        return f"not done in {timeout_s:g} s: {process.communicate()[0][-2000:]}"
    return None if process.returncode == 0 else f"ended with {process.returncode}: {said[-2000:]}"


def _mirror() -> str | None:
    """Where this machine's own Debian packages come from; None: wherever mmdebstrap thinks."""
    if shutil.which("apt-get") is None:
        return None
    wanted = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(SUITE) $(CODENAME) $(REPO_URI)"]
    listed = subprocess.run(wanted, capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        origin, *_names, address = line.split()
        if origin == "Debian" and "security" not in address and "-" not in _names[-1]:
            return address
    return None


def raised(package: Path, version: str, python: str) -> Path:
    """The same package as a later release: a higher version, other first settings, and code that says so."""
    tree = package.parent / f"raised-{version}"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    suffix = package.name.split("+")[1].split("_")[0]
    lines = [
        f"Version: {version}+{suffix}" if line.startswith("Version:") else line
        for line in control.read_text().splitlines()
    ]
    control.write_text("\n".join(lines) + "\n")
    with (tree / f"opt/hilltop/lib/python{python}/site-packages/appliance/__init__.py").open("a") as code:
        code.write(f'\nRAISED = "{version}"\n')
    with (tree / "usr/share/hilltop/hilltop.toml").open("a") as settings:
        settings.write("\n# What a new machine begins with has changed.\n")
    made = package.parent / f"hilltop_{version}+{suffix}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "-Zzstd", "-z1", "--root-owner-group", "-b", str(tree), str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(tree)
    return made


def left_behind(tree: Path) -> list[str]:
    """Files of ours that are still there; the user's line in the system's own files is not one."""
    found: list[str] = []
    for place in ("etc", "opt", "usr", "var", "run"):
        for path in (tree / place).rglob("*hilltop*"):
            inner = str(path.relative_to(tree))
            if not inner.startswith(("var/log/journal", "var/lib/dpkg")):
                found.append(inner)
    return found
