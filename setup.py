"""Give pip the version that package.xml holds; everything else stands in setup.cfg."""

from xml.etree import ElementTree

from setuptools import setup

setup(version=ElementTree.parse('package.xml').findtext('version'))
