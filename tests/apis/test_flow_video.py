import numpy as np
import pytest
from apis_conftest import GRID, square_column

import amflow_mm.apis.flow_video as module
from amflow_mm.apis import VideoFlow, flow_of_video
from amflow_mm.apis.flow_video import measured_size
from amflow_mm.engine.errors import MissingFileError, UserError
