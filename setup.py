"""Give pip what setup.cfg cannot: the version of package.xml, data files, and compiled code."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py


class BuildWhole(build_py):
    """Put the messages and the model that is shipped into the package, for those without ROS."""

    def run(self) -> None:
        """Build, and add them; an editable install finds them where they are."""
        super().run()
        if not getattr(self, 'editable_mode', False):
            model = [path for path in Path('models/demo-tiny').rglob('*') if path.is_file()]
            for path in sorted([*Path('msg').glob('*.msg'), *model]):
                target = Path(self.build_lib, 'theia_ros', path)
                self.mkpath(str(target.parent))
                self.copy_file(str(path), str(target))


class BuildLibrary(build_ext):
    """Compile a library of C functions, which has one name for all versions of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the path of the library of a module."""
        return f'{fullname.replace(".", "/")}.so'


# Optional: without a compiler, Pillow does the same.
RESIZE = Extension(
    'theia_ros._resize', ['theia_ros/resize.c'], extra_compile_args=['-O3'], optional=True
)

setup(
    version=ElementTree.parse('package.xml').findtext('version'),
    cmdclass={'build_py': BuildWhole, 'build_ext': BuildLibrary},
    ext_modules=[RESIZE],
)
