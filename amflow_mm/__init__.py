"""AM Flow: frozen image transformers that see motion, on MMAction2 and MMEngine.

Importing the package repairs what is broken among its dependencies (see ``compat``) and nothing
else. Import it before ``mmaction.models``, ``mmpretrain`` or ``torchvision``.
"""

from amflow_mm import compat

__version__ = "0.1.0"
__all__ = ["__version__"]

compat.apply()
