"""Packages of Debian, unpacked into a folder of their own: nothing is installed, and no privilege is needed."""
import glob
import os
import re
import shutil
import subprocess


class Missing(Exception):
    """A package, or a program, that is not to be had here."""


class Debian:
    """Packages below one folder."""

    def __init__(self, work):
        self.archives, self.root = os.path.join(work, "debian-archives"), os.path.join(work, "debian")
        self.have = set()

    def unpack(self, *packages):
        """Adds packages, without what they depend on."""
        new = [package for package in packages if package not in self.have]
        if not shutil.which("apt-get") or not shutil.which("dpkg"):
            raise Missing("no apt-get here")
        os.makedirs(self.archives, exist_ok=True)
        for package in new:
            done = subprocess.run(["apt-get", "-q", "download", package], cwd=self.archives, capture_output=True, text=True)
            found = glob.glob(os.path.join(self.archives, f"{package}_*.deb"))
            if done.returncode or not found:
                raise Missing(f"apt-get download {package}: {done.stderr.strip().splitlines()[-1:] or 'failed'} (apt-get update first?)")
            subprocess.run(["dpkg", "-x", found[0], self.root], check=True)
            self.have.add(package)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def depends(self, package, pattern):
        """The first package that another one depends on and whose name matches: the one with the version of this Debian."""
        said = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True).stdout
        found = re.search(rf"Depends: ({pattern})$", said, re.MULTILINE)
        if not found:
            raise Missing(f"apt-cache knows no package {package} (apt-get update first?)")
        return found[1]

    def program(self, name, package, *parts):
        """A program that is installed, or else that of a package."""
        installed = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if installed:
            return installed
        self.unpack(package)
        return self.path(*parts)
