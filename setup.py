"""Give pip the version that package.xml holds, and the messages; all else stands in setup.cfg."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithMessages(build_py):
    """Put the definitions of the messages into the package, for those who have no ROS."""

    def run(self) -> None:
        """Build, and add them; an editable install finds them where they are."""
        super().run()
        if not getattr(self, 'editable_mode', False):
            folder = Path(self.build_lib, 'theia_ros', 'msg')
            self.mkpath(str(folder))
            for path in sorted(Path('msg').glob('*.msg')):
                self.copy_file(str(path), str(folder))


setup(
    version=ElementTree.parse('package.xml').findtext('version'),
    cmdclass={'build_py': BuildWithMessages},
)
