"""Give pip the version that package.xml holds, messages and a model; all else is in setup.cfg."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup
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


setup(
    version=ElementTree.parse('package.xml').findtext('version'),
    cmdclass={'build_py': BuildWhole},
)
