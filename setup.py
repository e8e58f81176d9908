"""The one part that setup.cfg cannot declare: a compiled module, left out where no compiler is."""

from setuptools import Extension, setup

setup(ext_modules=[Extension("bnguard.audit._nodes", ["bnguard/audit/_nodes.c"], optional=True)])
